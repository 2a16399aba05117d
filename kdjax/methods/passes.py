"""One pass of a network over a batch, as methods see it."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
from flax import struct

from kdjax.features import Boundary
from kdjax.typing import PyTree


@struct.dataclass
class Pass:
  """Features of a network for one batch, and access to its later stages.

  Attributes:
    features: A `FeatureTree`; of a classifier `Features`.
    variables: Variables of the network; gradients flow to the student's.
    run_tail: `(variables, hidden, start) -> features`; see `tail`.
    run_head: `(variables, embedding) -> logits`; see `head`.
    has_head: Whether the network declares its classifier; `head` raises
      otherwise.
    boundary: The network's kind of boundary.
    train: Whether the network normalizes with the batch.
  """

  features: Any
  variables: PyTree
  run_tail: Callable[[PyTree, jax.Array, int], Any] = struct.field(
    pytree_node=False
  )
  run_head: Callable[[PyTree, jax.Array], jax.Array] = struct.field(
    pytree_node=False
  )
  has_head: bool = struct.field(pytree_node=False, default=True)
  boundary: Boundary = struct.field(pytree_node=False, default='post_relu')
  train: bool = struct.field(pytree_node=False, default=False)

  def tail(self, hidden: jax.Array, start: int) -> Any:
    """Returns the features of the stages from `start` on.

    The stages run in the mode of this pass. Differentiable in `hidden`, and
    for the student in its parameters; running statistics are not updated.

    Args:
      hidden: Input of stage `start`, `[B, …]`.
      start: Index of the first stage that runs.
    """
    return self.run_tail(self.variables, hidden, start)

  def head(self, embedding: jax.Array) -> jax.Array:
    """Returns logits `[B, K]` of embeddings `[B, D]`; see `tail`."""
    return self.run_head(self.variables, embedding)

  def with_head(self, head: Callable[[jax.Array], PyTree]) -> 'Pass':
    """Returns this pass with another classifier on the network's embedding.

    Args:
      head: Embeddings `[B, D]` to logits `[B, K]`.
    """
    predicting = self.with_predictor(lambda features: head(features.embedding))

    def run_head(variables: PyTree, embedding: jax.Array) -> PyTree:
      del variables
      return head(embedding)

    return dataclasses.replace(predicting, run_head=run_head, has_head=True)

  def with_predictor(self, predict: Callable[[Any], PyTree]) -> 'Pass':
    """Returns this pass with predictions made from any of its features.

    For predictors that read feature maps: embeddings alone do not determine
    such predictions, so the pass has no `head`.

    Args:
      predict: Features to predictions, such as logits `[B, K]`.
    """

    def predicted(features: Any) -> Any:
      return features.with_outputs(predict(features))

    def run_tail(variables: PyTree, hidden: jax.Array, start: int) -> Any:
      return predicted(self.run_tail(variables, hidden, start))

    return dataclasses.replace(
      self,
      features=predicted(self.features),
      run_tail=run_tail,
      run_head=_no_head,
      has_head=False,
    )


def _no_head(variables: PyTree, embedding: jax.Array) -> jax.Array:
  del variables, embedding
  raise ValueError(
    'This network predicts from feature maps and cannot classify an embedding.'
  )
