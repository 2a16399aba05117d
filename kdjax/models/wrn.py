"""Wide residual networks: wrn_16_1, wrn_16_2, wrn_40_1, wrn_40_2."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from kdjax import layers
from kdjax.features import Boundary
from kdjax.models.stack import Stack, StageOutput


class WideResNet(Stack, kw_only=True):
  """Pre-activation network of depth 6n + 4, `widen` times as wide.

  Boundaries lie before the norm of the next group, the last after the final
  norm. What a group looks like before its activation is the value that the next
  group's first norm computes anyway, so no norm is applied twice.

  Zagoruyko and Komodakis, `Wide residual networks
  <https://arxiv.org/abs/1605.07146>`_, 2016. No dropout.

  Attributes:
    depth: 6n + 4.
    widen: Factor of the widths 16, 32, 64.
  """

  boundary: Boundary = 'pre_norm'
  depth: int
  widen: int

  def make_stages(self):
    """The stem and three groups."""
    if self.depth % 6 != 4:
      raise ValueError(
        f'A wide ResNet has a depth of 6n + 4, got {self.depth}.'
      )
    groups = [
      Group(
        count=(self.depth - 4) // 6,
        width=width * self.widen,
        place=place,
        dtype=self.dtype,
      )
      for place, width in enumerate((16, 32, 64))
    ]
    return [Stem(dtype=self.dtype), *groups]

  def make_head(self):
    """The classifier; its bias starts at zero."""
    return layers.Dense(
      self.num_classes, bias_init=layers.zeros, dtype=self.dtype
    )


class Stem(nn.Module):
  """A 3×3 convolution to 16 channels and nothing else."""

  width: ClassVar[int] = 16
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> StageOutput:
    """Images to features of the same height and width."""
    del train
    x = layers.Conv(self.width, dtype=self.dtype, name='conv')(x)
    return StageOutput(x, x, x)


class Group(nn.Module):
  """`count` blocks; group 0 keeps the resolution, 1 and 2 halve it."""

  count: int
  width: int
  place: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> StageOutput:
    """Features of the stage before to this group's."""
    entry = None
    for index in range(self.count):
      strides = 2 if index == 0 and self.place > 0 else 1
      x, normed = Block(self.width, strides, self.dtype, name=f'block_{index}')(
        x, train=train
      )
      # The stem is listed raw in both lists: group 0 has nothing to report.
      if index == 0 and self.place > 0:
        entry = normed
    if self.place < 2:
      return StageOutput(x, x, x, entry)
    last = layers.BatchNorm(dtype=self.dtype, name='norm')(x, train=train)
    return StageOutput(last, x, last, entry)


class Block(nn.Module):
  """Norm, ReLU, convolution, twice; also returns the first norm's value."""

  width: int
  strides: int = 1
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(
    self, x: jax.Array, *, train: bool
  ) -> tuple[jax.Array, jax.Array]:
    """`[B, H, W, C]` to `[B, H / strides, …, width]` and `[B, H, W, C]`."""
    normed = layers.BatchNorm(dtype=self.dtype, name='norm1')(x, train=train)
    active = nn.relu(normed)
    y = layers.Conv(
      self.width, strides=self.strides, dtype=self.dtype, name='conv1'
    )(active)
    y = layers.BatchNorm(dtype=self.dtype, name='norm2')(y, train=train)
    y = layers.Conv(self.width, dtype=self.dtype, name='conv2')(nn.relu(y))
    if x.shape[-1] != self.width:
      # The projection reads the activated input, the identity the raw one.
      x = layers.Conv(
        self.width, 1, self.strides, dtype=self.dtype, name='shortcut_conv'
      )(active)
    return x + y, normed
