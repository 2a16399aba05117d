"""MobileNetV1 for ImageNet."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from kdjax.models.blocks import Stem, conv_norm
from kdjax.models.stack import Stack, StageOutput


class MobileNetV1(Stack, kw_only=True):
  """Depthwise and 1×1 convolutions in turn, for images of about 224 pixels.

  Howard et al., `MobileNets <https://arxiv.org/abs/1704.04861>`_, 2017.

  Attributes:
    widths: Output channels of the blocks of each stage. Every stage halves the
      image once, the first one in its second block, the others in their first.
  """

  widths: tuple[tuple[int, ...], ...] = (
    (64, 128, 128),
    (256, 256),
    (512,) * 6,
    (1024, 1024),
  )

  def make_stages(self):
    """The stem and four stages; each halves once."""
    stages = []
    number = 1
    for place, widths in enumerate(self.widths):
      # The stem's resolution holds for one more block.
      halves_at = 1 if place == 0 else 0
      stages.append(SeparableStage(widths, number, halves_at, dtype=self.dtype))
      number += len(widths)
    return [Stem(32, strides=2, dtype=self.dtype), *stages]


class SeparableStage(nn.Module):
  """Blocks `number`, `number + 1`, …; the one at `halves_at` has stride 2."""

  widths: tuple[int, ...]
  number: int
  halves_at: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> StageOutput:
    """Features of the stage before to this stage's."""
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
  """Depthwise 3×3, norm, ReLU, 1×1, norm."""

  width: int
  strides: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """`[B, H, W, C]` to `[B, H / strides, W / strides, width]`."""
    together = functools.partial(conv_norm, train=train, dtype=self.dtype)
    x = nn.relu(together(x, 1, x.shape[-1], 3, self.strides, groups=0))
    return together(x, 2, self.width, 1)
