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
  """Wide residual network with pre-activation blocks.

  Boundaries lie before the batch norm of the next group, the last one after the
  final batch norm. The pre-activation of a group is the output of the next
  group's first batch norm, which is not computed twice.

  Zagoruyko and Komodakis, `Wide residual networks
  <https://arxiv.org/abs/1605.07146>`_, 2016. No dropout.

  Attributes:
    depth: Number of layers, 6n + 4.
    widen: Factor of the widths 16, 32, 64.
  """

  boundary: Boundary = 'pre_norm'
  depth: int
  widen: int

  def make_stages(self):
    """Returns the stem and three groups."""
    if self.depth % 6 != 4:
      raise ValueError(
        f'The depth of a wide ResNet is 6n + 4, got {self.depth}.'
      )
    groups = [
      Group(
        count=(self.depth - 4) // 6,
        width=width * self.widen,
        group=group,
        dtype=self.dtype,
      )
      for group, width in enumerate((16, 32, 64))
    ]
    return [Stem(dtype=self.dtype), *groups]

  def make_head(self):
    """Returns the classifier; its bias is initialized to zero."""
    return layers.Dense(
      self.num_classes, bias_init=layers.zeros, dtype=self.dtype
    )


class Stem(nn.Module):
  """A single 3×3 convolution to 16 channels."""

  width: ClassVar[int] = 16
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> StageOutput:
    """Maps images to feature maps of the same height and width."""
    del train
    x = layers.Conv(self.width, dtype=self.dtype, name='conv')(x)
    return StageOutput(x, x, x)


class Group(nn.Module):
  """Blocks of one width.

  Attributes:
    count: Number of blocks.
    width: Output channels.
    group: Index of the group: 0 keeps the resolution, 1 and 2 halve it.
    dtype: Dtype of the computation.
  """

  count: int
  width: int
  group: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> StageOutput:
    """Maps the feature maps of the previous stage to those of this one."""
    entry = None
    for index in range(self.count):
      strides = 2 if index == 0 and self.group > 0 else 1
      x, normed = Block(self.width, strides, self.dtype, name=f'block_{index}')(
        x, train=train
      )
      # The papers' tables list the stem before batch norm in both lists.
      if index == 0 and self.group > 0:
        entry = normed
    if self.group < 2:
      return StageOutput(x, x, x, entry)
    last = layers.BatchNorm(dtype=self.dtype, name='norm')(x, train=train)
    return StageOutput(last, x, last, entry)


class Block(nn.Module):
  """Batch norm, ReLU and convolution, twice, and a shortcut.

  Attributes:
    width: Output channels.
    strides: Stride of the first convolution.
    dtype: Dtype of the computation.
  """

  width: int
  strides: int = 1
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(
    self, x: jax.Array, *, train: bool
  ) -> tuple[jax.Array, jax.Array]:
    """Applies the block.

    Args:
      x: `[B, H, W, C]`.
      train: Whether to normalize with the batch.

    Returns:
      The output `[B, H / strides, W / strides, width]`, and that of the first
      batch norm, `[B, H, W, C]`.
    """
    normed = layers.BatchNorm(dtype=self.dtype, name='norm1')(x, train=train)
    active = nn.relu(normed)
    y = layers.Conv(
      self.width, strides=self.strides, dtype=self.dtype, name='conv1'
    )(active)
    y = layers.BatchNorm(dtype=self.dtype, name='norm2')(y, train=train)
    y = layers.Conv(self.width, dtype=self.dtype, name='conv2')(nn.relu(y))
    if x.shape[-1] != self.width:
      # Unlike the identity, the projection reads the activated input.
      x = layers.Conv(
        self.width, 1, self.strides, dtype=self.dtype, name='shortcut_conv'
      )(active)
    return x + y, normed
