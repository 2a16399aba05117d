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

# Expansion, output channels, repeats, stride of the first.
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
  """Inverted residuals: narrow linear features, depthwise wide ones between.

  Stages follow the strides. Boundaries are linear features, but for the stem
  and the last one, which stop before their activation.

  Sandler et al., `MobileNetV2 <https://arxiv.org/abs/1801.04381>`_, 2018,
  without dropout.

  Attributes:
    settings: Of the seven groups of blocks.
    stem_width: Channels of the stem, which has stride 2.
    last_width: Channels of the 1×1 convolution before the classifier.
    expand_always: Whether an expansion of 1 has a 1×1 convolution too.
    activation: Between the convolutions.
  """

  boundary: Boundary = 'pre_relu'
  settings: tuple[Setting, ...] = CIFAR_SETTINGS
  stem_width: int = 16
  last_width: int = 1280
  expand_always: bool = True
  activation: Activation = nn.relu

  def make_stages(self):
    """The stem and four stages of one, two or three groups."""
    stem = RectifiedStem(self.stem_width, self.activation, dtype=self.dtype)
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
    """The classifier."""
    return layers.Dense(
      self.num_classes,
      kernel_init=nn.initializers.normal(0.01),
      bias_init=layers.zeros,
      dtype=self.dtype,
    )

  def embed(self, hidden: jax.Array) -> jax.Array:
    """The last boundary to the classifier's input `[B, D]`."""
    return self.pooled(self.activation(hidden))


class RectifiedStem(nn.Module):
  """3×3 convolution with stride 2 and norm; hands on what is not rectified."""

  width: int
  activation: Activation
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> StageOutput:
    """Images to features of half their height and width."""
    x = layers.Conv(self.width, 3, 2, dtype=self.dtype, name='conv')(x)
    x = layers.BatchNorm(dtype=self.dtype, name='norm')(x, train=train)
    out = self.activation(x)
    return StageOutput(x, out, out)


class InvertedStage(nn.Module):
  """Some of the groups of blocks.

  Attributes:
    groups: Which of the settings.
    settings: All of them.
    last_width: Channels of a last 1×1 convolution and norm, if there is one.
    activates: Whether what comes in is to be rectified.
    expand_always: See `MobileNetV2`.
    activation: See `MobileNetV2`.
    dtype: What it computes in.
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
    """Features of the stage before to this stage's."""
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
  """1×1 to more channels, depthwise 3×3, 1×1 to few; linear at its end."""

  width: int
  expansion: int
  strides: int
  expands: bool
  activation: Activation
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """`[B, H, W, C]` to `[B, H / strides, W / strides, width]`."""
    together = functools.partial(conv_norm, train=train, dtype=self.dtype)
    wide = x.shape[-1] * self.expansion
    y = x
    if self.expands:
      y = self.activation(together(y, 1, wide, 1))
    y = self.activation(together(y, 2, wide, 3, self.strides, groups=0))
    y = together(y, 3, self.width, 1)
    return x + y if x.shape == y.shape else y
