"""Residual networks for small images and for ImageNet."""

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
  """Two 3×3 convolutions and a shortcut; no ReLU after their sum.

  Attributes:
    width: Output channels.
    strides: Stride of the first convolution.
    padded: Whether a shortcut that changes shape has no weights: it subsamples
      the pixels and pads the channels with zeros on both sides. Otherwise it is
      a 1×1 convolution and a batch norm.
    dtype: Dtype of the computation.
  """

  width: int
  strides: int = 1
  padded: bool = False
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """Maps `[B, H, W, C]` to `[B, H / strides, W / strides, width]`."""
    conv_bn = functools.partial(conv_norm, train=train, dtype=self.dtype)
    y = conv_bn(x, 1, self.width, strides=self.strides)
    y = conv_bn(nn.relu(y), 2, self.width)
    if self.padded:
      return y + _padded(x, self.width, self.strides)
    return y + _projected(x, self.width, self.strides, train, self.dtype)


class Bottleneck(nn.Module):
  """1×1, 3×3 and 1×1 convolution and a shortcut; no ReLU after their sum.

  Attributes:
    width: Output channels; the first two convolutions have a quarter of them.
    strides: Stride of the 3×3 convolution.
    dtype: Dtype of the computation.
  """

  width: int
  strides: int = 1
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """Maps `[B, H, W, C]` to `[B, H / strides, W / strides, width]`."""
    conv_bn = functools.partial(conv_norm, train=train, dtype=self.dtype)
    y = conv_bn(x, 1, self.width // 4, 1)
    y = conv_bn(nn.relu(y), 2, self.width // 4, 3, self.strides)
    y = conv_bn(nn.relu(y), 3, self.width, 1)
    return y + _projected(x, self.width, self.strides, train, self.dtype)


class ResNet(Stack, kw_only=True):
  """Residual network for small images.

  The stem and stage 1 keep the resolution, each later stage halves it. With the
  boundary `pre_relu` (the "o" networks of FCFD) the last ReLU of a stage moves
  to the start of the next stage; the weights are the same.

  He et al., `Deep residual learning <https://arxiv.org/abs/1512.03385>`_, 2015,
  section 4.2, but with a convolution and a batch norm in shortcuts that change
  shape.

  Attributes:
    blocks: Number of blocks of each stage after the stem.
    widths: Output channels of those stages.
    stem_width: Channels of the stem.
    block: Constructor of a block, `(width, strides=…, dtype=…, name=…)`.
    relu_between: Whether a ReLU follows every block of a stage, not only the
      last.
    pool: Size of the windows of average pooling before the classifier (`None`:
      the whole image). Has no effect if `pooling` is given.
  """

  blocks: tuple[int, ...]
  widths: tuple[int, ...] = (16, 32, 64)
  stem_width: int = 16
  block: Callable[..., nn.Module] = BasicBlock
  relu_between: bool = True
  pool: int | None = None

  def make_stem(self) -> nn.Module:
    """Returns the stem."""
    return Stem(self.stem_width, boundary=self.boundary, dtype=self.dtype)

  def make_stages(self):
    """Returns the stem and one stage per entry of `blocks`."""
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
    """Maps the last boundary to the embedding `[B, D]`."""
    if self.pool is None or self.pooling is not None:
      return super().embed(hidden)
    batch, height, width, channels = hidden.shape
    if height % self.pool or width % self.pool:
      raise ValueError(
        f'The last feature maps are pooled in windows of {self.pool} pixels, '
        f'which do not tile {height} by {width}: give images of another size, '
        'or a pooling over the whole image.'
      )
    rows, columns = height // self.pool, width // self.pool
    windows = nn.relu(hidden).reshape(
      batch, rows, self.pool, columns, self.pool, channels
    )
    means = layers.mean_in_float32(windows, (2, 4))
    # PyTorch flattens channels before pixels.
    return means.transpose(0, 3, 1, 2).reshape(batch, -1)


class ImageNetResNet(ResNet, kw_only=True):
  """torchvision's ResNets for images of about 224 pixels.

  The stem is a 7×7 convolution with stride 2 and max pooling with stride 2. In
  bottlenecks the 3×3 convolution has the stride.

  Attributes:
    widths: See `ResNet`.
    stem_width: See `ResNet`.
  """

  widths: tuple[int, ...] = (64, 128, 256, 512)
  stem_width: int = 64

  def make_stem(self) -> nn.Module:
    """Returns the stem, which divides height and width by four."""
    return Stem(
      self.stem_width,
      size=7,
      strides=2,
      pool=True,
      boundary=self.boundary,
      dtype=self.dtype,
    )


def _projected(x, width, strides, train, dtype):
  """Applies a 1×1 convolution and a batch norm if the shape changes."""
  if strides == 1 and x.shape[-1] == width:
    return x
  x = layers.Conv(width, 1, strides, dtype=dtype, name='shortcut_conv')(x)
  return layers.BatchNorm(dtype=dtype, name='shortcut_norm')(x, train=train)


def _padded(x, width, strides):
  """Subsamples the pixels and pads the channels with zeros on both sides."""
  new = width - x.shape[-1]
  before = new // 2
  pads = ((0, 0), (0, 0), (0, 0), (before, new - before))
  return jnp.pad(x[:, ::strides, ::strides], pads)
