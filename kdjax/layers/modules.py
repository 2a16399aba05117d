"""Layers with PyTorch's conventions for padding and initial weights.

Parameters are float32; `dtype` is the dtype of a layer's computations.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from kdjax.layers.batch_norm import is_folded
from kdjax.layers.convolution import conv2d, conv_transpose2d

Initializer = Callable[..., jax.Array]

zeros = nn.initializers.zeros
# Standard deviation sqrt(2 / (k² C_out)), for depthwise kernels too.
fan_out_normal = nn.initializers.variance_scaling(2.0, 'fan_out', 'normal')
# Uniform in ±1/sqrt(fan_in), PyTorch's default.
torch_uniform = nn.initializers.variance_scaling(1 / 3, 'fan_in', 'uniform')


class Conv(nn.Module):
  """Convolution with a kernel and an optional bias.

  Attributes:
    features: Output channels.
    size: Height and width of the kernel.
    strides: Stride of both axes.
    padding: Zeros on every side (`None`: `size // 2`, which keeps the size of
      the image if the stride is 1).
    groups: See `conv2d`; 0 is one group per channel (depthwise).
    use_bias: Whether a bias is added. A folded layer (`is_folded`) has one in
      any case.
    kernel_init: Initializer of the kernel.
    bias_init: Initializer of the bias (`None`: uniform in ±1/sqrt(fan_in)).
    dtype: Dtype of the computation.
  """

  features: int
  size: int = 3
  strides: int = 1
  padding: int | None = None
  groups: int = 1
  use_bias: bool = False
  kernel_init: Initializer = fan_out_normal
  bias_init: Initializer | None = None
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps images `[B, H, W, C]` to `[B, H', W', features]`."""
    groups = self.groups or x.shape[-1]
    shape = (self.size, self.size, x.shape[-1] // groups, self.features)
    kernel = self.param('kernel', self.kernel_init, shape, jnp.float32)
    x = conv2d(
      x.astype(self.dtype),
      kernel.astype(self.dtype),
      strides=self.strides,
      padding=self.size // 2 if self.padding is None else self.padding,
      groups=groups,
    )
    if not (self.use_bias or is_folded(self)):
      return x
    fan_in = self.size**2 * shape[2]
    return x + _bias(self, self.bias_init, fan_in).astype(self.dtype)


class ConvTranspose(nn.Module):
  """Transposed convolution with a kernel and a bias.

  Kernel and bias are initialized uniformly in ±1/sqrt(size² features):
  PyTorch's definition of the fan-in of a transposed kernel.

  Attributes:
    features: Output channels.
    size: Height and width of the kernel.
    strides: Stride of both axes.
    padding: Pixels that are cut off on every side; see `conv_transpose2d`.
    kernel_init: Initializer of the kernel.
    bias_init: Initializer of the bias (`None`: uniform in ±1/sqrt(fan_in)).
    dtype: Dtype of the computation.
  """

  features: int
  size: int
  strides: int
  padding: int
  kernel_init: Initializer = torch_uniform
  bias_init: Initializer | None = None
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps images `[B, H, W, C]` to `[B, H', W', features]`."""
    shape = (self.size, self.size, self.features, x.shape[-1])
    kernel = self.param('kernel', self.kernel_init, shape, jnp.float32)
    x = conv_transpose2d(
      x.astype(self.dtype),
      kernel.astype(self.dtype),
      strides=self.strides,
      padding=self.padding,
    )
    fan_in = self.size**2 * self.features
    return x + _bias(self, self.bias_init, fan_in).astype(self.dtype)


class Dense(nn.Module):
  """Linear layer with a kernel and an optional bias.

  Attributes:
    features: Width of the output.
    use_bias: Whether a bias is added. A folded layer (`is_folded`) has one in
      any case.
    kernel_init: Initializer of the kernel.
    bias_init: Initializer of the bias (`None`: uniform in ±1/sqrt(fan_in)).
    dtype: Dtype of the computation.
  """

  features: int
  use_bias: bool = True
  kernel_init: Initializer = torch_uniform
  bias_init: Initializer | None = None
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps `[..., D]` to `[..., features]`."""
    shape = (x.shape[-1], self.features)
    kernel = self.param('kernel', self.kernel_init, shape, jnp.float32)
    x = x.astype(self.dtype) @ kernel.astype(self.dtype)
    if not (self.use_bias or is_folded(self)):
      return x
    return x + _bias(self, self.bias_init, shape[0]).astype(self.dtype)


def mean_in_float32(x: jax.Array, axes: tuple[int, ...]) -> jax.Array:
  """Computes the mean over some axes, summed in float32.

  Args:
    x: Any array.
    axes: Axes to average over.

  Returns:
    The mean in the dtype of `x`.
  """
  wide = jnp.promote_types(x.dtype, jnp.float32)
  return x.mean(axes, dtype=wide).astype(x.dtype)


def global_mean(x: jax.Array) -> jax.Array:
  """Computes the mean over all pixels: `[B, H, W, C]` to `[B, C]`."""
  return mean_in_float32(x, (1, 2))


def global_max(x: jax.Array) -> jax.Array:
  """Computes the maximum over all pixels: `[B, H, W, C]` to `[B, C]`."""
  return x.max((1, 2))


def _bias(
  module: nn.Module, init: Initializer | None, fan_in: int
) -> jax.Array:
  """Returns a bias parameter; by default uniform in ±1/sqrt(fan_in)."""
  features = module.features  # pyright: ignore[reportAttributeAccessIssue]

  def uniform(key, shape, dtype):
    bound = fan_in**-0.5
    return jax.random.uniform(key, shape, dtype, -bound, bound)

  return module.param('bias', init or uniform, (features,), jnp.float32)
