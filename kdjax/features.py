"""Outputs of a network, and its properties known without running it."""

import dataclasses
from typing import Any, Literal, Protocol, Self, runtime_checkable

import jax
from flax import struct

from kdjax.typing import PyTree

Boundary = Literal['post_relu', 'pre_relu', 'pre_norm']
MaybeArray = Any  # an array, or `None` for a stage that did not run


@runtime_checkable
class FeatureTree(Protocol):
  """Features of any kind of network, as training needs them.

  Classifiers return `Features`; a detector has its own class. Each is a pytree
  of arrays whose first axis is the example.
  """

  @property
  def outputs(self) -> PyTree:
    """Predictions of the network, which the task's loss reads."""
    ...

  def with_outputs(self, outputs: PyTree) -> Self:
    """Returns the same features with other predictions."""
    ...


@struct.dataclass
class Features:
  """Features of a classifier for a batch of images `[B, H, W, C]`.

  Features that are not read cost nothing, because XLA removes them under `jit`.
  A pass that starts in the middle of a network (`tail`) has `None` for the
  stages before.

  Attributes:
    stages: Output of each stage as the papers' tables list it, the stem first:
      after the activation where the network has one there.
    pre_stages: The same before that activation; equal to `stages` where the
      network has no activation there.
    boundaries: Inputs of the next stages: `boundaries[i]` is the input of
      `tail` with `start=i + 1`. The network's `boundary` names its kind.
    embedding: Input of the classifier, `[B, D]`.
    logits: Unnormalized log-probabilities, `[B, K]`.
  """

  stages: tuple[MaybeArray, ...]
  pre_stages: tuple[MaybeArray, ...]
  boundaries: tuple[MaybeArray, ...]
  embedding: jax.Array
  logits: jax.Array

  @property
  def outputs(self) -> jax.Array:
    """The logits."""
    return self.logits

  def with_outputs(self, outputs: jax.Array) -> 'Features':
    """Returns the same features with other logits."""
    return dataclasses.replace(self, logits=outputs)


@struct.dataclass
class LinearClassifier:
  """Linear map from embeddings to logits: `embedding @ kernel + bias`.

  Attributes:
    kernel: `[D, K]`.
    bias: `[K]`.
  """

  kernel: jax.Array
  bias: jax.Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkSpec:
  """Shapes and capabilities of a network, known before anything runs.

  Attributes:
    name: Name of the network, for messages.
    boundary: Its kind of boundary.
    features: Its features as `jax.ShapeDtypeStruct`s, for a batch.
    variables: Shapes of its variables.
    has_tail: Whether it can start in the middle.
    has_head: Whether it can classify an embedding.
    classifier: Shapes of its linear classifier; `None` if it has none or does
      not declare it.
  """

  name: str
  boundary: Boundary
  features: Any  # a `FeatureTree`; of a classifier `Features`
  variables: PyTree
  has_tail: bool = True
  has_head: bool = True
  classifier: LinearClassifier | None = None
