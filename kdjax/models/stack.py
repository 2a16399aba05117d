"""A network as a stack of stages: whole, or entered at any boundary."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from kdjax import layers
from kdjax.features import Boundary, Features


class StageOutput(NamedTuple):
  """What one stage gives; see `Features` for the first three.

  `entry` is for networks whose activations follow the norm of the *next* stage:
  the value before the activation of the previous stage, which this one computes
  on its way in.
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
  """Base of all networks here: named stages and a linear classifier.

  A network says what its stages are (`make_stages`), and, where it differs from
  "ReLU, mean over the image", how the last boundary becomes the embedding.

  Attributes:
    num_classes: Logits.
    dtype: What it computes in; parameters and statistics are float32.
    boundary: What one stage hands to the next.
    pooling: How the last maps become one vector: their mean (`gap`), their
      maximum (`gmp`), or half of both (`gwp`), each over the whole image. The
      network's own way without; most have the mean.
  """

  num_classes: int
  dtype: DTypeLike = jnp.float32
  pooling: str | None = None
  boundary: Boundary = 'post_relu'

  classifier_name = 'head'  # no attribute of a network: all have it

  def make_stages(self) -> Sequence[nn.Module]:
    """The stages, the stem first; each `(x, train=…) -> StageOutput`."""
    raise NotImplementedError

  def make_head(self) -> nn.Module:
    """The classifier."""
    return layers.Dense(self.num_classes, dtype=self.dtype)

  def embed(self, hidden: jax.Array) -> jax.Array:
    """The last boundary to the classifier's input `[B, D]`."""
    # On rectified maps this changes nothing, but what another network's
    # translated features bring here need not be rectified.
    return self.pooled(nn.relu(hidden))

  def pooled(self, maps: jax.Array) -> jax.Array:
    """Activated maps `[B, H, W, C]` as one vector each, `[B, C]`."""
    return POOLINGS[self.pooling or 'gap'](maps)

  def setup(self):
    """Names the stages `stage_0`, `stage_1`, … and the classifier `head`."""
    self.stage = self.make_stages()
    self.head = self.make_head()

  def __call__(self, images: jax.Array, *, train: bool) -> Features:
    """Features of normalised images `[B, H, W, C]`."""
    return self.tail(images, 0, train=train)

  def tail(self, hidden: jax.Array, start: int, *, train: bool) -> Features:
    """Features of the stages from `start` on.

    Args:
      hidden: What stage `start` takes: `boundaries[start - 1]` of a whole pass,
        or anything of its shape.
      start: From 0, the whole network, to the number of stages, which runs the
        classifier alone.
      train: Whether to normalise with the batch and move the statistics.

    Raises:
      ValueError: If there is no such stage.
    """
    stages: Any = self.stage
    if not 0 <= start <= len(stages):
      raise ValueError(
        f'{type(self).__name__} can be entered at 0 to {len(stages)}, got '
        f'start={start}.'
      )
    nothing: list[jax.Array | None] = [None] * start
    boundaries, outputs, pre_outputs = nothing[:], nothing[:], nothing[:]
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
    """Logits `[B, K]` of embeddings `[B, D]`: the classifier alone."""
    return self.head(embedding)
