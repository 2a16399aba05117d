"""Base class of networks that consist of stages."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from kdjax import layers
from kdjax.features import Boundary, Features


class StageOutput(NamedTuple):
  """Output of one stage.

  Attributes:
    boundary: Input of the next stage; see `Features.boundaries`.
    stage: Output after the activation; see `Features.stages`.
    pre_stage: Output before the activation; see `Features.pre_stages`.
    entry: Pre-activation of the previous stage, in networks in which this stage
      computes it (`None`: it is the previous stage's `pre_stage`).
  """

  boundary: jax.Array
  stage: jax.Array
  pre_stage: jax.Array
  entry: jax.Array | None = None


POOLINGS: dict[str, Callable[[jax.Array], jax.Array]] = {
  'gap': layers.global_mean,
  'gmp': layers.global_max,
  'gwp': lambda x: (layers.global_mean(x) + layers.global_max(x)) / 2,
}


class Stack(nn.Module):
  """Base class of networks: named stages and a linear classifier.

  Subclasses define `make_stages`, and `embed` unless the embedding is a ReLU
  and pooling of the last boundary.

  Attributes:
    num_classes: Number of classes.
    dtype: Dtype of the computation; parameters and statistics are float32.
    pooling: Pooling of the last feature maps over the whole image: their mean
      (`gap`), their maximum (`gmp`) or the mean of both (`gwp`) (`None`: the
      network's own, in most networks the mean).
    boundary: Kind of the boundaries; see `Network.boundary`.
  """

  num_classes: int
  dtype: DTypeLike = jnp.float32
  pooling: str | None = None
  boundary: Boundary = 'post_relu'

  classifier_name = 'head'  # not annotated: the same in all networks

  def make_stages(self) -> Sequence[nn.Module]:
    """Returns the stages, stem first; each `(x, train=…) -> StageOutput`."""
    raise NotImplementedError

  def make_head(self) -> nn.Module:
    """Returns the classifier."""
    return layers.Dense(self.num_classes, dtype=self.dtype)

  def embed(self, hidden: jax.Array) -> jax.Array:
    """Maps the last boundary to the embedding `[B, D]`."""
    # Has no effect on rectified maps, but the output of a bridge from another
    # network need not be rectified.
    return self.pooled(nn.relu(hidden))

  def pooled(self, maps: jax.Array) -> jax.Array:
    """Pools activated feature maps `[B, H, W, C]` to `[B, C]`."""
    return POOLINGS[self.pooling or 'gap'](maps)

  def setup(self):
    """Names the stages `stage_0`, `stage_1`, … and the classifier `head`."""
    self.stage = self.make_stages()
    self.head = self.make_head()

  def __call__(self, images: jax.Array, *, train: bool) -> Features:
    """Computes the features of normalized images.

    Args:
      images: `[B, H, W, C]`.
      train: Whether to normalize with the batch and update the running
        statistics.
    """
    return self.tail(images, 0, train=train)

  def tail(self, hidden: jax.Array, start: int, *, train: bool) -> Features:
    """Computes the features of the stages from `start` on.

    Args:
      hidden: Input of stage `start`: `boundaries[start - 1]` of a whole pass,
        or any array of its shape.
      start: Index of a stage; 0 is the whole network, and the number of stages
        is the classifier alone.
      train: Whether to normalize with the batch and update the running
        statistics.

    Returns:
      Features, with `None` for the stages before `start`.

    Raises:
      ValueError: If there is no such stage.
    """
    stages: Any = self.stage
    if not 0 <= start <= len(stages):
      raise ValueError(
        f'{type(self).__name__} can start at stages 0 to {len(stages)}, got '
        f'start={start}.'
      )
    skipped: list[jax.Array | None] = [None] * start
    boundaries, outputs, pre_outputs = skipped[:], skipped[:], skipped[:]
    for index, stage in enumerate(stages[start:], start):
      out = stage(hidden, train=train)
      hidden = out.boundary
      boundaries.append(out.boundary)
      outputs.append(out.stage)
      pre_outputs.append(out.pre_stage)
      if out.entry is not None and index > start:
        pre_outputs[index - 1] = out.entry
    embedding = self.embed(hidden)
    return Features(
      stages=tuple(outputs),
      pre_stages=tuple(pre_outputs),
      boundaries=tuple(boundaries),
      embedding=embedding,
      logits=self.classify(embedding),
    )

  def classify(self, embedding: jax.Array) -> jax.Array:
    """Computes logits `[B, K]` of embeddings `[B, D]`."""
    return self.head(embedding)
