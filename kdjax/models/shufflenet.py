"""ShuffleNetV1 and ShuffleNetV2 for small images."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from kdjax import layers
from kdjax.features import Boundary
from kdjax.layers import windows
from kdjax.models.blocks import Stage, Stem, conv_norm
from kdjax.models.stack import Stack, StageOutput

_conv_norm = functools.partial(conv_norm, kernel_init=layers.torch_uniform)


class ShuffleNetV1(Stack, kw_only=True):
  """Grouped 1×1 convolutions with the groups' channels mixed between.

  Zhang et al., `ShuffleNet <https://arxiv.org/abs/1707.01083>`_, 2017, with a
  1×1 stem at full resolution.

  Attributes:
    blocks: Blocks of the three stages.
    widths: Their output channels.
    groups: Of the 1×1 convolutions.
  """

  boundary: Boundary = 'pre_relu'
  blocks: tuple[int, ...] = (4, 8, 4)
  widths: tuple[int, ...] = (240, 480, 960)
  groups: int = 3

  def make_stages(self):
    """The stem and three stages."""
    stages = [
      Stage(
        count,
        functools.partial(GroupedBlock, width, self.groups, place == 0),
        strides=2,
        boundary=self.boundary,
        dtype=self.dtype,
      )
      for place, (count, width) in enumerate(zip(self.blocks, self.widths))
    ]
    return [_stem(self.boundary, self.dtype), *stages]


class GroupedBlock(nn.Module):
  """1×1, shuffle, depthwise 3×3, 1×1; not rectified.

  Attributes:
    width: Output channels.
    groups: Of the 1×1 convolutions.
    after_stem: Whether its stage follows the stem: there the first convolution
      of the block with the stride is not grouped.
    strides: 2 halves the image and puts the input's means beside the branch;
      1 adds the input.
    dtype: What it computes in.
  """

  width: int
  groups: int
  after_stem: bool
  strides: int = 1
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """`[B, H, W, C]` to `[B, H / strides, W / strides, width]`."""
    halves = self.strides == 2
    out = self.width - x.shape[-1] if halves else self.width
    first = 1 if halves and self.after_stem else self.groups
    together = functools.partial(_conv_norm, train=train, dtype=self.dtype)
    y = nn.relu(together(x, 1, out // 4, 1, groups=first))
    y = shuffle(y, first)
    y = together(y, 2, out // 4, 3, self.strides, groups=0)
    y = together(nn.relu(y), 3, out, 1, groups=self.groups)
    if not halves:
      return x + y
    return jnp.concatenate([y, windows.mean_pool(x, 3, 2, padding=1)], -1)


class ShuffleNetV2(Stack, kw_only=True):
  """Blocks that work on half of the channels and mix the halves after.

  Before the activation a stage is listed with its channels as they are before
  the shuffle; after it, as they are after.

  Ma et al., `ShuffleNet V2 <https://arxiv.org/abs/1807.11164>`_, 2018, with a
  1×1 stem at full resolution.

  Attributes:
    blocks: Blocks of the three stages, the one that halves included.
    widths: Their output channels.
    last_width: Channels of the 1×1 convolution before the classifier.
  """

  blocks: tuple[int, ...] = (4, 8, 4)
  widths: tuple[int, ...] = (116, 232, 464)
  last_width: int = 1024

  def make_stages(self):
    """The stem and three stages; the last one ends on a 1×1 convolution."""
    stages = [
      SplitStage(
        count,
        width,
        last_width=self.last_width if place == 2 else None,
        dtype=self.dtype,
      )
      for place, (count, width) in enumerate(zip(self.blocks, self.widths))
    ]
    return [_stem(self.boundary, self.dtype), *stages]


class SplitStage(nn.Module):
  """One block that halves the image, then blocks that keep it."""

  count: int
  width: int
  last_width: int | None = None
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> StageOutput:
    """Features of the stage before to this stage's."""
    parts = (x, x)
    for index in range(self.count):
      block = DownBlock if index == 0 else SplitBlock
      parts = block(self.width // 2, self.dtype, name=f'block_{index}')(
        x, train=train
      )
      x = shuffle(nn.relu(jnp.concatenate(parts, -1)), 2)
    # What SplitBlock passes on was rectified before: its ReLU changes nothing.
    pre = jnp.concatenate(parts, -1)
    if self.last_width is None:
      return StageOutput(x, x, pre)
    last = layers.Conv(
      self.last_width,
      1,
      kernel_init=layers.torch_uniform,
      dtype=self.dtype,
      name='conv',
    )(x)
    last = layers.BatchNorm(dtype=self.dtype, name='norm')(last, train=train)
    return StageOutput(nn.relu(last), x, pre)


class DownBlock(nn.Module):
  """Two branches that halve the image; neither is rectified at its end."""

  width: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(
    self, x: jax.Array, *, train: bool
  ) -> tuple[jax.Array, jax.Array]:
    """`[B, H, W, C]` to two of `[B, H / 2, W / 2, width]`."""
    together = functools.partial(_conv_norm, train=train, dtype=self.dtype)
    left = together(x, 1, x.shape[-1], 3, 2, groups=0)
    left = together(left, 2, self.width, 1)
    right = nn.relu(together(x, 3, self.width, 1))
    right = together(right, 4, self.width, 3, 2, groups=0)
    return left, together(right, 5, self.width, 1)


class SplitBlock(nn.Module):
  """The first half of the channels as it is, the second through a branch."""

  width: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(
    self, x: jax.Array, *, train: bool
  ) -> tuple[jax.Array, jax.Array]:
    """`[B, H, W, 2 width]` to two of `[B, H, W, width]`."""
    together = functools.partial(_conv_norm, train=train, dtype=self.dtype)
    kept, y = jnp.split(x, 2, -1)
    y = nn.relu(together(y, 1, self.width, 1))
    y = together(y, 2, self.width, 3, groups=0)
    return kept, together(y, 3, self.width, 1)


def shuffle(x: jax.Array, groups: int) -> jax.Array:
  """Channels `[g, C/g]` to `[C/g, g]`: neighbours come from all groups."""
  mixed = x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)
  return mixed.swapaxes(-1, -2).reshape(x.shape)


def _stem(boundary: Boundary, dtype: DTypeLike) -> Stem:
  return Stem(
    24,
    size=1,
    boundary=boundary,
    kernel_init=layers.torch_uniform,
    dtype=dtype,
  )
