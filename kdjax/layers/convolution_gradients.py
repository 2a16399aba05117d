"""Gradients of a convolution, as convolutions in the CPU's fast layout."""

import jax
import jax.numpy as jnp

from kdjax.layers import windows

_DIMENSIONS = ('NHWC', 'HWIO', 'NHWC')


def convolve(
  x: jax.Array, kernel: jax.Array, strides: int, padding: int, groups: int
) -> jax.Array:
  """Computes a convolution with XLA's own gradients.

  Args:
    x: Images `[B, H, W, C]`.
    kernel: `[kh, kw, C / groups, O]`.
    strides: See `kdjax.layers.conv2d`.
    padding: See `kdjax.layers.conv2d`.
    groups: See `kdjax.layers.conv2d`.

  Returns:
    `[B, H', W', O]`.
  """
  return jax.lax.conv_general_dilated(
    x,
    kernel,
    (strides, strides),
    ((padding, padding),) * 2,
    dimension_numbers=_DIMENSIONS,
    feature_group_count=groups,
  )


def is_depthwise(kernel: jax.Array, groups: int) -> bool:
  """Returns whether each channel has one square kernel and one output.

  Args:
    kernel: `[kh, kw, C / groups, O]`.
    groups: Number of groups of channels.
  """
  height, width, inputs, outputs = kernel.shape
  return inputs == 1 and outputs == groups > 1 and height == width


def gradients_for_cpu(
  x: jax.Array,
  kernel: jax.Array,
  gradient: jax.Array,
  *,
  strides: int,
  padding: int,
  groups: int,
) -> tuple[jax.Array, jax.Array]:
  """Computes the gradients with respect to the images and the kernel.

  Args:
    x: Images `[B, H, W, C]`.
    kernel: `[kh, kw, C / groups, O]`.
    gradient: Gradient of the output, `[B, H', W', O]`.
    strides: See `kdjax.layers.conv2d`.
    padding: See `kdjax.layers.conv2d`.
    groups: See `kdjax.layers.conv2d`.

  Returns:
    Arrays of the shapes of `x` and `kernel`.
  """
  if is_depthwise(kernel, groups):
    return windows.depthwise_gradients(x, kernel, gradient, strides, padding)
  x_gradient = input_gradient(
    kernel, gradient, x.shape, strides, padding, groups
  )
  if groups == 1:
    return x_gradient, kernel_gradient(
      x, gradient, kernel.shape, strides, padding
    )
  return x_gradient, _grouped_kernel_gradient(
    x, gradient, kernel.shape, strides, padding, groups
  )


def input_gradient(
  kernel: jax.Array,
  gradient: jax.Array,
  shape: tuple[int, ...],
  strides: int,
  padding: int,
  groups: int,
) -> jax.Array:
  """Convolves the dilated gradient of the output with the flipped kernel.

  Args:
    kernel: `[kh, kw, C / groups, O]`.
    gradient: Gradient of the output, `[B, H', W', O]`.
    shape: Shape of the images, `[B, H, W, C]`.
    strides: See `kdjax.layers.conv2d`.
    padding: See `kdjax.layers.conv2d`.
    groups: See `kdjax.layers.conv2d`.

  Returns:
    `[B, H, W, C]`.
  """
  kh, kw, _, outputs = kernel.shape
  flipped = kernel[::-1, ::-1].reshape(kh, kw, -1, groups, outputs // groups)
  flipped = flipped.transpose(0, 1, 4, 3, 2).reshape(
    kh, kw, outputs // groups, shape[-1]
  )
  pads = [
    (k - 1 - padding, n + padding - 1 - strides * (m - 1))
    for k, n, m in zip(kernel.shape, shape[1:3], gradient.shape[1:3])
  ]
  return jax.lax.conv_general_dilated(
    gradient,
    flipped,
    (1, 1),
    pads,
    lhs_dilation=(strides, strides),
    dimension_numbers=_DIMENSIONS,
    feature_group_count=groups,
  )


def kernel_gradient(
  x: jax.Array,
  gradient: jax.Array,
  shape: tuple[int, ...],
  strides: int,
  padding: int,
) -> jax.Array:
  """Convolves the images with the gradient, channels as the batch axis.

  Args:
    x: Images `[B, H, W, C]`.
    gradient: Gradient of the output, `[B, H', W', O]`.
    shape: Shape of the kernel, `[kh, kw, C, O]`.
    strides: See `kdjax.layers.conv2d`.
    padding: See `kdjax.layers.conv2d`.

  Returns:
    `[kh, kw, C, O]`.
  """
  pads = [
    (padding, k + strides * (m - 1) - n - padding)
    for k, n, m in zip(shape, x.shape[1:3], gradient.shape[1:3])
  ]
  # Without this dependence on the gradient XLA would transpose the images in
  # the forward pass already and keep the copy until the gradient is computed.
  # An optimization barrier does not prevent that: the CPU compiler removes
  # barriers before it schedules.
  x = x + 0 * gradient[0, 0, 0, 0]
  return jax.lax.conv_general_dilated(
    x.transpose(3, 1, 2, 0),
    gradient.transpose(1, 2, 0, 3),
    (1, 1),
    pads,
    rhs_dilation=(strides, strides),
    dimension_numbers=_DIMENSIONS,
  ).transpose(1, 2, 0, 3)


def _grouped_kernel_gradient(x, gradient, shape, strides, padding, groups):
  """Computes one product of shifted images and gradients per kernel element."""
  kh, kw, inputs, outputs = shape
  _, height, width, _ = gradient.shape
  x = jnp.pad(x, ((0, 0), (padding,) * 2, (padding,) * 2, (0, 0)))
  x = x.reshape(*x.shape[:3], groups, inputs)
  gradient = gradient.reshape(*gradient.shape[:3], groups, outputs // groups)

  def element(u, v):
    rows = slice(u, u + strides * (height - 1) + 1, strides)
    columns = slice(v, v + strides * (width - 1) + 1, strides)
    shifted = x[:, rows, columns]
    product = jnp.einsum('bhwgi,bhwgo->igo', shifted, gradient)
    return product.reshape(inputs, outputs)

  return jnp.stack(
    [jnp.stack([element(u, v) for v in range(kw)]) for u in range(kh)]
  )
