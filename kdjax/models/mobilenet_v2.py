"""MobileNetV2, for small images and for ImageNet."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from kdjax import layers
from kdjax.features import Boundary
from kdjax.models.blocks import conv_norm
from kdjax.models.stack import Stack, StageOutput

# Expansion, output channels, number of blocks, stride of the first block.
Setting = tuple[int, int, int, int]
Activation = Callable[[jax.Array], jax.Array]

CIFAR_SETTINGS: tuple[Setting, ...] = (
  (1, 8, 1, 1),
  (6, 12, 2, 1),
  (6, 16, 3, 2),
  (6, 32, 4, 2),
  (6, 48, 3, 1),
  (6, 80, 3, 2),
  (6, 160, 1, 1),
)
IMAGENET_SETTINGS: tuple[Setting, ...] = (
  (1, 16, 1, 1),
  (6, 24, 2, 2),
  (6, 32, 3, 2),
  (6, 64, 4, 2),
  (6, 96, 3, 1),
  (6, 160, 3, 2),
  (6, 320, 1, 1),
)


class MobileNetV2(Stack, kw_only=True):
  """Inverted residual blocks: narrow linear maps, wide ones in between.

  A new stage starts with each stride. Boundaries are linear maps, except for
  the stem's and the last one, which lie before an activation.

  Sandler et al., `MobileNetV2 <https://arxiv.org/abs/1801.04381>`_, 2018,
  without dropout.

  Attributes:
    settings: Settings of the seven groups of blocks.
    stem_width: Channels of the stem, which has stride 2.
    last_width: Channels of the 1×1 convolution before the classifier.
    expand_always: Whether blocks with an expansion of 1 have the expanding 1×1
      convolution, too.
    activation: Activation between the convolutions.
  """

  boundary: Boundary = 'pre_relu'
  settings: tuple[Setting, ...] = CIFAR_SETTINGS
  stem_width: int = 16
  last_width: int = 1280
  expand_always: bool = True
  activation: Activation = nn.relu

  def make_stages(self):
    """Returns the stem and four stages of one or two groups each."""
    stem = LinearStem(self.stem_width, self.activation, dtype=self.dtype)
    stages = [
      InvertedStage(
        range(first, last),
        self.settings,
        last_width=self.last_width if last == 7 else None,
        activates=first == 0,
        expand_always=self.expand_always,
        activation=self.activation,
        dtype=self.dtype,
      )
      for first, last in ((0, 2), (2, 3), (3, 5), (5, 7))
    ]
    return [stem, *stages]

  def make_head(self):
    """Returns the classifier."""
    return layers.Dense(
      self.num_classes,
      kernel_init=nn.initializers.normal(0.01),
      bias_init=layers.zeros,
      dtype=self.dtype,
    )

  def embed(self, hidden: jax.Array) -> jax.Array:
    """Maps the last boundary to the embedding `[B, D]`."""
    return self.pooled(self.activation(hidden))


class LinearStem(nn.Module):
  """3×3 convolution with stride 2 and batch norm; its boundary is linear.

  Attributes:
    width: Output channels.
    activation: See `MobileNetV2`.
    dtype: Dtype of the computation.
  """

  width: int
  activation: Activation
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> StageOutput:
    """Maps images to feature maps of half their height and width."""
    x = layers.Conv(self.width, 3, 2, dtype=self.dtype, name='conv')(x)
    x = layers.BatchNorm(dtype=self.dtype, name='norm')(x, train=train)
    out = self.activation(x)
    return StageOutput(x, out, out)


class InvertedStage(nn.Module):
  """Groups of inverted residual blocks.

  Attributes:
    groups: Indices of the groups in `settings`.
    settings: Settings of all groups.
    last_width: Channels of a final 1×1 convolution with batch norm (`None`:
      there is none).
    activates: Whether the input needs an activation.
    expand_always: See `MobileNetV2`.
    activation: See `MobileNetV2`.
    dtype: Dtype of the computation.
  """

  groups: range
  settings: tuple[Setting, ...]
  last_width: int | None
  activates: bool
  expand_always: bool
  activation: Activation
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> StageOutput:
    """Maps the feature maps of the previous stage to those of this one."""
    if self.activates:
      x = self.activation(x)
    for group in self.groups:
      expansion, width, repeats, strides = self.settings[group]
      for index in range(repeats):
        x = InvertedBlock(
          width,
          expansion=expansion,
          strides=strides if index == 0 else 1,
          expands=self.expand_always or expansion > 1,
          activation=self.activation,
          dtype=self.dtype,
          name=f'group_{group}_{index}',
        )(x, train=train)
    if self.last_width is None:
      return StageOutput(x, x, x)
    last = layers.Conv(self.last_width, 1, dtype=self.dtype, name='conv')(x)
    last = layers.BatchNorm(dtype=self.dtype, name='norm')(last, train=train)
    return StageOutput(last, x, x)


class InvertedBlock(nn.Module):
  """Expanding 1×1, depthwise 3×3 and linear 1×1 convolution, and a shortcut.

  Attributes:
    width: Output channels.
    expansion: Factor of the channels in between.
    strides: Stride of the depthwise convolution.
    expands: Whether there is an expanding convolution.
    activation: See `MobileNetV2`.
    dtype: Dtype of the computation.
  """

  width: int
  expansion: int
  strides: int
  expands: bool
  activation: Activation
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """Maps `[B, H, W, C]` to `[B, H / strides, W / strides, width]`."""
    conv_bn = functools.partial(conv_norm, train=train, dtype=self.dtype)
    wide = x.shape[-1] * self.expansion
    y = x
    if self.expands:
      y = self.activation(conv_bn(y, 1, wide, 1))
    y = self.activation(conv_bn(y, 2, wide, 3, self.strides, groups=0))
    y = conv_bn(y, 3, self.width, 1)
    return x + y if x.shape == y.shape else y
