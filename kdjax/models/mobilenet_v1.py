"""MobileNetV1 for ImageNet."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from kdjax.models.blocks import Stem, conv_norm
from kdjax.models.stack import Stack, StageOutput


class MobileNetV1(Stack, kw_only=True):
  """Alternating depthwise and 1×1 convolutions for images of 224 pixels.

  Howard et al., `MobileNets <https://arxiv.org/abs/1704.04861>`_, 2017.

  Attributes:
    widths: Output channels of the blocks of each stage. Every stage halves the
      resolution once: the first in its second block, the others in their first.
  """

  widths: tuple[tuple[int, ...], ...] = (
    (64, 128, 128),
    (256, 256),
    (512,) * 6,
    (1024, 1024),
  )

  def make_stages(self):
    """Returns the stem and four stages."""
    stages = []
    number = 1
    for index, widths in enumerate(self.widths):
      # The first block keeps the resolution of the stem.
      halves_at = 1 if index == 0 else 0
      stages.append(SeparableStage(widths, number, halves_at, dtype=self.dtype))
      number += len(widths)
    return [Stem(32, strides=2, dtype=self.dtype), *stages]


class SeparableStage(nn.Module):
  """Separable blocks.

  Attributes:
    widths: Output channels of each block.
    number: Number of the first block, counted through the network.
    halves_at: Index of the block with stride 2.
    dtype: Dtype of the computation.
  """

  widths: tuple[int, ...]
  number: int
  halves_at: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> StageOutput:
    """Maps the feature maps of the previous stage to those of this one."""
    pre = x
    for index, width in enumerate(self.widths):
      pre = SeparableBlock(
        width,
        strides=2 if index == self.halves_at else 1,
        dtype=self.dtype,
        name=f'block_{self.number + index}',
      )(x, train=train)
      x = nn.relu(pre)
    return StageOutput(x, x, pre)


class SeparableBlock(nn.Module):
  """Depthwise 3×3 convolution, batch norm, ReLU, 1×1 convolution, batch norm.

  Attributes:
    width: Output channels.
    strides: Stride of the depthwise convolution.
    dtype: Dtype of the computation.
  """

  width: int
  strides: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """Maps `[B, H, W, C]` to `[B, H / strides, W / strides, width]`."""
    conv_bn = functools.partial(conv_norm, train=train, dtype=self.dtype)
    x = nn.relu(conv_bn(x, 1, x.shape[-1], 3, self.strides, groups=0))
    return conv_bn(x, 2, self.width, 1)
