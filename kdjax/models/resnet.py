"""Residual networks for small images, and those for ImageNet."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from kdjax import layers
from kdjax.models.blocks import Stage, Stem, conv_norm
from kdjax.models.stack import Stack


class BasicBlock(nn.Module):
  """Two 3×3 convolutions beside the shortcut; the sum is not rectified.

  Attributes:
    width: Output channels.
    strides: Of the first convolution.
    padded: Where the shape changes the shortcut takes every second pixel and
      puts half of the new channels, all zero, before and half behind, instead
      of a 1×1 convolution and a norm.
    dtype: What it computes in.
  """

  width: int
  strides: int = 1
  padded: bool = False
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """`[B, H, W, C]` to `[B, H / strides, W / strides, width]`."""
    together = functools.partial(conv_norm, train=train, dtype=self.dtype)
    y = together(x, 1, self.width, strides=self.strides)
    y = together(nn.relu(y), 2, self.width)
    if self.padded:
      return y + _padded(x, self.width, self.strides)
    return y + _projected(x, self.width, self.strides, train, self.dtype)


class Bottleneck(nn.Module):
  """1×1, 3×3, 1×1; the middle is a quarter as wide and has the stride."""

  width: int
  strides: int = 1
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """`[B, H, W, C]` to `[B, H / strides, W / strides, width]`."""
    together = functools.partial(conv_norm, train=train, dtype=self.dtype)
    y = together(x, 1, self.width // 4, 1)
    y = together(nn.relu(y), 2, self.width // 4, 3, self.strides)
    y = together(nn.relu(y), 3, self.width, 1)
    return y + _projected(x, self.width, self.strides, train, self.dtype)


class ResNet(Stack, kw_only=True):
  """Residual network for small images.

  The stem convolves at full resolution; stage 1 keeps it, each later one halves
  it. With the boundary `pre_relu` (the "o" networks of FCFD) the ReLU that ends
  a stage moves to the start of the next; the weights are the same.

  He et al., `Deep residual learning <https://arxiv.org/abs/1512.03385>`_, 2015,
  section 4.2, but with a convolution and a norm where a shortcut changes shape.

  Attributes:
    blocks: Blocks of each stage after the stem.
    widths: Output channels of those stages.
    stem_width: Channels of the stem.
    block: Makes a block: `(width, strides=…, dtype=…, name=…)`.
    relu_between: Whether a ReLU stands between two blocks of a stage too.
    pool: Size of the windows whose means, channel by channel, are the
      embedding unless `pooling` is given; `None` is the whole image.
  """

  blocks: tuple[int, ...]
  widths: tuple[int, ...] = (16, 32, 64)
  stem_width: int = 16
  block: Callable[..., nn.Module] = BasicBlock
  relu_between: bool = True
  pool: int | None = None

  def make_stem(self) -> nn.Module:
    """The stem."""
    return Stem(self.stem_width, boundary=self.boundary, dtype=self.dtype)

  def make_stages(self):
    """The stem and one stage per entry of `blocks`."""
    stages = [
      Stage(
        count,
        functools.partial(self.block, width),
        strides=1 if index == 0 else 2,
        relu_between=self.relu_between,
        boundary=self.boundary,
        dtype=self.dtype,
      )
      for index, (count, width) in enumerate(zip(self.blocks, self.widths))
    ]
    return [self.make_stem(), *stages]

  def embed(self, hidden: jax.Array) -> jax.Array:
    """The last boundary to the classifier's input `[B, D]`."""
    if self.pool is None or self.pooling is not None:
      return super().embed(hidden)
    batch, height, width, channels = hidden.shape
    if height % self.pool or width % self.pool:
      raise ValueError(
        f'The last features are pooled in windows of {self.pool}, which do not '
        f'fill {height} by {width}: give images of another size, or a pooling '
        'of the whole image.'
      )
    rows, columns = height // self.pool, width // self.pool
    windows = nn.relu(hidden).reshape(
      batch, rows, self.pool, columns, self.pool, channels
    )
    means = layers.mean_in_float32(windows, (2, 4))
    # PyTorch flattens the channel first.
    return means.transpose(0, 3, 1, 2).reshape(batch, -1)


class ImageNetResNet(ResNet, kw_only=True):
  """torchvision's ResNets for images of about 224 pixels.

  A 7×7 convolution with stride 2 and a maximum with stride 2 come first. In
  bottlenecks the 3×3 convolution has the stride.
  """

  widths: tuple[int, ...] = (64, 128, 256, 512)
  stem_width: int = 64

  def make_stem(self) -> nn.Module:
    """The stem, which divides height and width by four."""
    return Stem(
      self.stem_width,
      size=7,
      strides=2,
      pool=True,
      boundary=self.boundary,
      dtype=self.dtype,
    )


def _projected(x, width, strides, train, dtype):
  """The input; through a 1×1 convolution and norm where the shape changes."""
  if strides == 1 and x.shape[-1] == width:
    return x
  x = layers.Conv(width, 1, strides, dtype=dtype, name='shortcut_conv')(x)
  return layers.BatchNorm(dtype=dtype, name='shortcut_norm')(x, train=train)


def _padded(x, width, strides):
  """The input's every so-manieth pixel among channels of zeros."""
  new = width - x.shape[-1]
  before = new // 2
  pads = ((0, 0), (0, 0), (0, 0), (before, new - before))
  return jnp.pad(x[:, ::strides, ::strides], pads)
