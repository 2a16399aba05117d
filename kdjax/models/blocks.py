"""Stems and stages that several families share."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from kdjax import layers
from kdjax.features import Boundary
from kdjax.layers import windows
from kdjax.models.stack import StageOutput


class Stem(nn.Module):
  """Convolution, norm, ReLU and, for large images, a 3×3 maximum.

  Attributes:
    width: Output channels.
    size: The kernel's.
    strides: The convolution's.
    pool: Whether the largest of 3×3 with stride 2 follows.
    boundary: `pre_relu` leaves the ReLU to the next stage.
    kernel_init: First kernel.
    dtype: What it computes in.
  """

  width: int
  size: int = 3
  strides: int = 1
  pool: bool = False
  boundary: Boundary = 'post_relu'
  kernel_init: layers.Initializer = layers.fan_out_normal
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> StageOutput:
    """Images to features."""
    x = layers.Conv(
      self.width,
      self.size,
      self.strides,
      kernel_init=self.kernel_init,
      dtype=self.dtype,
      name='conv',
    )(x)
    x = layers.BatchNorm(dtype=self.dtype, name='norm')(x, train=train)
    if self.pool:
      # Taking the largest and rectifying may change places.
      x = windows.max_pool(x, 3, 2, padding=1)
    # The field's tables list the stem rectified in both lists.
    out = nn.relu(x)
    return StageOutput(x if self.boundary == 'pre_relu' else out, out, out)


class Stage(nn.Module):
  """Blocks that do not rectify what they return; a ReLU follows.

  Attributes:
    count: Blocks.
    block: Makes one: `(strides=…, dtype=…, name=…)`, called as
      `(x, train=…)`.
    strides: Of the first block.
    relu_between: Whether a ReLU stands between two blocks too.
    boundary: `pre_relu` moves the last ReLU to the start of the next stage.
    dtype: What it computes in.
  """

  count: int
  block: Callable[..., nn.Module]
  strides: int
  relu_between: bool = True
  boundary: Boundary = 'post_relu'
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> StageOutput:
    """Features of the stage before to this stage's."""
    pre = nn.relu(x) if self.boundary == 'pre_relu' else x
    for index in range(self.count):
      if index > 0 and self.relu_between:
        pre = nn.relu(pre)
      pre = self.block(
        strides=self.strides if index == 0 else 1,
        dtype=self.dtype,
        name=f'block_{index}',
      )(pre, train=train)
    out = nn.relu(pre)
    return StageOutput(pre if self.boundary == 'pre_relu' else out, out, pre)


def conv_norm(
  x: jax.Array,
  number: int,
  width: int,
  size: int = 3,
  strides: int = 1,
  *,
  train: bool,
  groups: int = 1,
  kernel_init: layers.Initializer = layers.fan_out_normal,
  dtype: DTypeLike = jnp.float32,
) -> jax.Array:
  """The convolution and the norm number so-and-so of the module around.

  To be called in a compact module, whose parts they become.
  """
  x = layers.Conv(
    width,
    size,
    strides,
    groups=groups,
    kernel_init=kernel_init,
    dtype=dtype,
    name=f'conv{number}',
  )(x)
  return layers.BatchNorm(dtype=dtype, name=f'norm{number}')(x, train=train)
