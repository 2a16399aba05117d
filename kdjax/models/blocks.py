"""Stems, stages and layers that several families of networks share."""

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
  """Convolution, batch norm, ReLU and, for large images, max pooling.

  Attributes:
    width: Output channels.
    size: Height and width of the kernel.
    strides: Stride of the convolution.
    pool: Whether 3×3 max pooling with stride 2 follows.
    boundary: `pre_relu` leaves the ReLU to the next stage.
    kernel_init: Initializer of the kernel.
    dtype: Dtype of the computation.
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
    """Maps images to feature maps."""
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
      # Max pooling and ReLU commute.
      x = windows.max_pool(x, 3, 2, padding=1)
    # The papers' tables list the stem after its ReLU in both lists.
    out = nn.relu(x)
    return StageOutput(x if self.boundary == 'pre_relu' else out, out, out)


class Stage(nn.Module):
  """Residual blocks without a ReLU at their end, each followed by one.

  Attributes:
    count: Number of blocks.
    block: Constructor of a block, `(strides=…, dtype=…, name=…)`; the block is
      called as `(x, train=…)`.
    strides: Stride of the first block.
    relu_between: Whether a ReLU follows the other blocks, too.
    boundary: `pre_relu` moves the last ReLU to the start of the next stage.
    dtype: Dtype of the computation.
  """

  count: int
  block: Callable[..., nn.Module]
  strides: int
  relu_between: bool = True
  boundary: Boundary = 'post_relu'
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> StageOutput:
    """Maps the feature maps of the previous stage to those of this one."""
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
  """Applies a convolution and a batch norm of the calling module.

  To be called in a compact module, which owns the two layers.

  Args:
    x: `[B, H, W, C]`.
    number: Suffix of the layers' names: `conv{number}`, `norm{number}`.
    width: Output channels.
    size: Height and width of the kernel.
    strides: Stride of both axes.
    train: Whether to normalize with the batch.
    groups: See `layers.Conv`.
    kernel_init: Initializer of the kernel.
    dtype: Dtype of the computation.

  Returns:
    `[B, H / strides, W / strides, width]`.
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
