"""Layers with PyTorch's conventions: padding, batch statistics, first weights.

Parameters are float32; `dtype` is what a layer computes in.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from kdjax.layers.convolution import conv2d, conv_transpose2d

Initializer = Callable[..., jax.Array]

zeros = nn.initializers.zeros
# std = sqrt(2 / (k² C_out)); depthwise kernels count all of C_out too.
fan_out_normal = nn.initializers.variance_scaling(2.0, 'fan_out', 'normal')
# Uniform in ±1/sqrt(fan_in): what PyTorch does unless told otherwise.
torch_uniform = nn.initializers.variance_scaling(1 / 3, 'fan_in', 'uniform')


class Conv(nn.Module):
  """`conv2d` with a kernel of its own.

  Attributes:
    features: Output channels.
    size: The kernel's height and width.
    strides: Of both axes.
    padding: Zeros on every side; `None` is `size // 2`, which keeps the size of
      the image where the stride is 1.
    groups: See `conv2d`; 0 is one group per channel (depthwise).
    use_bias: Whether a bias is added.
    kernel_init: First kernel.
    bias_init: First bias; `None` is uniform in ±1/sqrt(fan_in).
    dtype: What it computes in.
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
    """Images `[B, H, W, C]` to `[B, H', W', features]`."""
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
    if not _has_bias(self):
      return x
    fan_in = self.size**2 * shape[2]
    return x + _bias(self, self.bias_init, fan_in).astype(self.dtype)


class ConvTranspose(nn.Module):
  """`conv_transpose2d` with a kernel of its own; attributes as of `Conv`.

  The first kernel is uniform in ±1/sqrt(size² features), PyTorch's reading of
  what a transposed kernel's inputs are, and so is the bias.
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
    """Images `[B, H, W, C]` to `[B, H', W', features]`."""
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
  """A linear layer; attributes as those of `Conv`."""

  features: int
  use_bias: bool = True
  kernel_init: Initializer = torch_uniform
  bias_init: Initializer | None = None
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """`[..., D]` to `[..., features]`."""
    shape = (x.shape[-1], self.features)
    kernel = self.param('kernel', self.kernel_init, shape, jnp.float32)
    x = x.astype(self.dtype) @ kernel.astype(self.dtype)
    if not _has_bias(self):
      return x
    return x + _bias(self, self.bias_init, shape[0]).astype(self.dtype)


class BatchNorm(nn.Module):
  r"""Normalises each channel over all other axes.

  In training :math:`y = \gamma (x - \mu) / \sqrt{\sigma^2 + \epsilon} + \beta`
  with the mean and the biased variance of the batch; the running statistics
  become :math:`(1 - m)\,r + m\,b` where the batch's variance enters unbiased,
  times :math:`n / (n - 1)`. That is PyTorch's rule, which Flax's own layer does
  not follow. Otherwise the running statistics normalise.

  Under `jit` the batch is the global one, however it lies over the devices.
  Statistics are float32 (float64 for float64 inputs) whatever the dtype.
  Variables that hold nothing of it are folded ones (`fold_batch_norm`): what
  comes is handed on.

  Attributes:
    epsilon: Added to the variance.
    momentum: What share of the batch enters the running statistics.
    scale_init: First scale.
    dtype: Of the result.
  """

  epsilon: float = 1e-5
  momentum: float = 0.1
  scale_init: Initializer = nn.initializers.ones
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """`[..., C]` to the same shape."""
    if self._is_folded:
      if train:
        raise ValueError(
          f'{"/".join(self.path)} is folded into the layer before it; '
          'train with the variables that were folded.'
        )
      return x.astype(self.dtype)
    shape = x.shape[-1:]
    scale = self.param('scale', self.scale_init, shape, jnp.float32)
    bias = self.param('bias', zeros, shape, jnp.float32)
    running_mean = self.variable('batch_stats', 'mean', jnp.zeros, shape)
    running_var = self.variable('batch_stats', 'var', jnp.ones, shape)
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    mean, var = running_mean.value, running_var.value
    if train:
      mean, var = moments(x)
      count = x.size // x.shape[-1]
      unbiased = var * (count / max(count - 1, 1))
      if not self.is_initializing():
        self._move(running_mean, mean)
        self._move(running_var, unbiased)
    # One product and one sum: its gradient by the factor is a sum of the
    # inputs themselves. That of a product with x - mean would keep a copy of
    # those until then.
    factor = jax.lax.rsqrt(var + self.epsilon) * scale
    x = x * factor + (bias - mean * factor)
    return x.astype(self.dtype)

  @property
  def _is_folded(self) -> bool:
    """Whether the variables hold nothing of it; see `fold_batch_norm`."""
    return not (
      self.is_initializing()
      or self.has_variable('params', 'scale')
      or self.has_variable('batch_stats', 'mean')
    )

  def _move(self, running: Any, batch: jax.Array) -> None:
    moved = (1 - self.momentum) * running.value + self.momentum * batch
    running.value = moved.astype(running.value.dtype)


@jax.custom_jvp
def moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Mean and biased variance over all axes but the last."""
  axes = tuple(range(x.ndim - 1))
  mean = x.mean(axes)
  return mean, jnp.square(x - mean).mean(axes)


@moments.defjvp
def _moments_jvp(primals, tangents):
  """The variance does not depend on the mean to first order."""
  (x,), (dx,) = primals, tangents
  axes = tuple(range(x.ndim - 1))
  mean, var = moments(x)
  return (mean, var), (dx.mean(axes), 2 * ((x - mean) * dx).mean(axes))


def mean_in_float32(x: jax.Array, axes: tuple[int, ...]) -> jax.Array:
  """The mean over some axes, in the dtype of `x` but summed in float32."""
  wide = jnp.promote_types(x.dtype, jnp.float32)
  return x.mean(axes, dtype=wide).astype(x.dtype)


def global_mean(x: jax.Array) -> jax.Array:
  """`[B, H, W, C]` to `[B, C]`."""
  return mean_in_float32(x, (1, 2))


def global_max(x: jax.Array) -> jax.Array:
  """`[B, H, W, C]` to `[B, C]`."""
  return x.max((1, 2))


def _has_bias(module: nn.Module) -> bool:
  """Whether it has one of its own, or that of a norm that was folded."""
  own = module.use_bias  # pyright: ignore[reportAttributeAccessIssue]
  return own or module.has_variable('params', 'bias')


def _bias(module: nn.Module, init: Initializer | None, fan_in: int):
  """A bias parameter; by default uniform in ±1/sqrt(fan_in)."""
  features = module.features  # pyright: ignore[reportAttributeAccessIssue]

  def uniform(key, shape, dtype):
    bound = fan_in**-0.5
    return jax.random.uniform(key, shape, dtype, -bound, bound)

  return module.param('bias', init or uniform, (features,), jnp.float32)
