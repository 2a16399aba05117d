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
  """Grouped 1×1 convolutions whose channels are shuffled across groups.

  Zhang et al., `ShuffleNet <https://arxiv.org/abs/1707.01083>`_, 2017, with a
  1×1 stem at full resolution.

  Attributes:
    blocks: Number of blocks of each of the three stages.
    widths: Output channels of each stage.
    groups: Groups of the 1×1 convolutions.
  """

  boundary: Boundary = 'pre_relu'
  blocks: tuple[int, ...] = (4, 8, 4)
  widths: tuple[int, ...] = (240, 480, 960)
  groups: int = 3

  def make_stages(self):
    """Returns the stem and three stages."""
    stages = [
      Stage(
        count,
        functools.partial(GroupedBlock, width, self.groups, index == 0),
        strides=2,
        boundary=self.boundary,
        dtype=self.dtype,
      )
      for index, (count, width) in enumerate(zip(self.blocks, self.widths))
    ]
    return [_stem(self.boundary, self.dtype), *stages]


class GroupedBlock(nn.Module):
  """1×1, shuffle, depthwise 3×3 and 1×1, and a shortcut; no ReLU at its end.

  Attributes:
    width: Output channels.
    groups: Groups of the 1×1 convolutions.
    after_stem: Whether the stage follows the stem, where the first convolution
      of the block with stride 2 is not grouped.
    strides: Stride of the depthwise convolution: 2 concatenates the average
      pooled input, 1 adds the input.
    dtype: Dtype of the computation.
  """

  width: int
  groups: int
  after_stem: bool
  strides: int = 1
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """Maps `[B, H, W, C]` to `[B, H / strides, W / strides, width]`."""
    halves = self.strides == 2
    out = self.width - x.shape[-1] if halves else self.width
    first = 1 if halves and self.after_stem else self.groups
    conv_bn = functools.partial(_conv_norm, train=train, dtype=self.dtype)
    y = nn.relu(conv_bn(x, 1, out // 4, 1, groups=first))
    y = shuffle(y, first)
    y = conv_bn(y, 2, out // 4, 3, self.strides, groups=0)
    y = conv_bn(nn.relu(y), 3, out, 1, groups=self.groups)
    if not halves:
      return x + y
    return jnp.concatenate([y, windows.mean_pool(x, 3, 2, padding=1)], -1)


class ShuffleNetV2(Stack, kw_only=True):
  """Blocks that transform half of the channels and then shuffle both halves.

  The pre-activation of a stage has the order of channels before the shuffle,
  its output the order after it.

  Ma et al., `ShuffleNet V2 <https://arxiv.org/abs/1807.11164>`_, 2018, with a
  1×1 stem at full resolution.

  Attributes:
    blocks: Number of blocks of each of the three stages.
    widths: Output channels of each stage.
    last_width: Channels of the 1×1 convolution before the classifier.
  """

  blocks: tuple[int, ...] = (4, 8, 4)
  widths: tuple[int, ...] = (116, 232, 464)
  last_width: int = 1024

  def make_stages(self):
    """Returns the stem and three stages; a 1×1 convolution ends the last."""
    stages = [
      SplitStage(
        count,
        width,
        last_width=self.last_width if index == 2 else None,
        dtype=self.dtype,
      )
      for index, (count, width) in enumerate(zip(self.blocks, self.widths))
    ]
    return [_stem(self.boundary, self.dtype), *stages]


class SplitStage(nn.Module):
  """One block that halves the resolution, then blocks that keep it.

  Attributes:
    count: Number of blocks.
    width: Output channels.
    last_width: Channels of a final 1×1 convolution with batch norm (default:
      there is none).
    dtype: Dtype of the computation.
  """

  count: int
  width: int
  last_width: int | None = None
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> StageOutput:
    """Maps the feature maps of the previous stage to those of this one."""
    parts = (x, x)
    for index in range(self.count):
      block = DownBlock if index == 0 else SplitBlock
      parts = block(self.width // 2, self.dtype, name=f'block_{index}')(
        x, train=train
      )
      x = shuffle(nn.relu(jnp.concatenate(parts, -1)), 2)
    # The half that SplitBlock keeps is already rectified; ReLU keeps it as is.
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
  """Two branches that halve the resolution; neither ends with a ReLU.

  Attributes:
    width: Output channels of each branch.
    dtype: Dtype of the computation.
  """

  width: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(
    self, x: jax.Array, *, train: bool
  ) -> tuple[jax.Array, jax.Array]:
    """Maps `[B, H, W, C]` to two of `[B, H / 2, W / 2, width]`."""
    conv_bn = functools.partial(_conv_norm, train=train, dtype=self.dtype)
    left = conv_bn(x, 1, x.shape[-1], 3, 2, groups=0)
    left = conv_bn(left, 2, self.width, 1)
    right = nn.relu(conv_bn(x, 3, self.width, 1))
    right = conv_bn(right, 4, self.width, 3, 2, groups=0)
    return left, conv_bn(right, 5, self.width, 1)


class SplitBlock(nn.Module):
  """Identity for the first half of the channels, a branch for the second.

  Attributes:
    width: Channels of each half.
    dtype: Dtype of the computation.
  """

  width: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(
    self, x: jax.Array, *, train: bool
  ) -> tuple[jax.Array, jax.Array]:
    """Maps `[B, H, W, 2 width]` to two of `[B, H, W, width]`."""
    conv_bn = functools.partial(_conv_norm, train=train, dtype=self.dtype)
    kept, y = jnp.split(x, 2, -1)
    y = nn.relu(conv_bn(y, 1, self.width, 1))
    y = conv_bn(y, 2, self.width, 3, groups=0)
    return kept, conv_bn(y, 3, self.width, 1)


def shuffle(x: jax.Array, groups: int) -> jax.Array:
  """Shuffles channels across groups, by transposing `[g, C/g]` channels.

  Args:
    x: `[..., C]`.
    groups: Number of groups g.

  Returns:
    `[..., C]`, in which neighboring channels come from different groups.
  """
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
