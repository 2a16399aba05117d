"""Convolutions whose gradients are fast inside loops on the CPU too."""

import functools

import jax

from kdjax.layers import windows
from kdjax.layers.convolution_gradients import (
  convolve,
  gradients_for_cpu,
  input_gradient,
  is_depthwise,
  kernel_gradient,
)


def conv2d(
  x: jax.Array,
  kernel: jax.Array,
  *,
  strides: int = 1,
  padding: int = 0,
  groups: int = 1,
) -> jax.Array:
  r"""Computes the cross-correlation of images with a kernel.

  .. math::
    y_{nijo} = \sum_{uvc} x_{n,\,si+u-p,\,sj+v-p,\,c} \, k_{uvco}

  with stride :math:`s` and :math:`p` zeros around the image on every side. That
  is PyTorch's padding; `SAME` of XLA pads stride 2 on one side only.

  The value and both gradients are those of `jax.lax.conv_general_dilated`, but
  the gradients are written differently for the CPU. XLA transposes the
  gradients that `jax.grad` creates into the layout of its fast kernel only
  outside of loops and branches; inside they run 20 to 90 times slower (jax
  issue 12868). Here they are in that layout from the start, and depthwise
  convolutions, slow there in any layout, are sums of shifted images. Reverse
  mode only.

  Args:
    x: Images `[B, H, W, C]`.
    kernel: `[kh, kw, C / groups, O]`, of the dtype of `x`.
    strides: Stride of both axes.
    padding: Zeros on each of the four sides.
    groups: Number of groups of channels, each with a convolution of its own;
      `groups == C` is a depthwise convolution.

  Returns:
    `[B, (H + 2 padding - kh) // strides + 1, …, O]`.

  Raises:
    ValueError: If the channels do not fit the kernel and the groups.
  """
  channels, outputs = x.shape[-1], kernel.shape[-1]
  if channels != kernel.shape[2] * groups or outputs % groups:
    raise ValueError(
      f'A kernel of {kernel.shape} with {groups} groups needs '
      f'{kernel.shape[2] * groups} input channels and outputs divisible by '
      f'{groups}, got images {x.shape}.'
    )
  return _conv(x, kernel, strides, padding, groups)


def conv_transpose2d(
  x: jax.Array, kernel: jax.Array, *, strides: int, padding: int = 0
) -> jax.Array:
  r"""Computes the transpose of `conv2d` with respect to its images.

  .. math::
    y_{n,\,si+u-p,\,sj+v-p,\,c} = \sum_{ijuvo} x_{nijo} \, k_{uvco}

  where every output pixel sums all terms with its index, with stride :math:`s`;
  a border of :math:`p` pixels is cut off. This is PyTorch's transposed
  convolution. Both gradients are as fast inside loops as those of `conv2d`.

  Args:
    x: `[B, H, W, O]`.
    kernel: `[kh, kw, C, O]`, of the dtype of `x`.
    strides: Stride of both axes.
    padding: Pixels that are cut off on each of the four sides.

  Returns:
    `[B, (H - 1) strides + kh - 2 padding, …, C]`.

  Raises:
    ValueError: If the channels do not fit the kernel.
  """
  if x.shape[-1] != kernel.shape[3]:
    raise ValueError(
      f'A transposed kernel of {kernel.shape} needs {kernel.shape[3]} input '
      f'channels, got images {x.shape}.'
    )
  return _conv_transpose(x, kernel, strides, padding)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _conv(x, kernel, strides, padding, groups):
  native = functools.partial(
    convolve, strides=strides, padding=padding, groups=groups
  )
  if not is_depthwise(kernel, groups):
    return native(x, kernel)
  shifted = functools.partial(
    windows.depthwise, strides=strides, padding=padding
  )
  return jax.lax.platform_dependent(x, kernel, cpu=shifted, default=native)


def _conv_forward(x, kernel, strides, padding, groups):
  return _conv(x, kernel, strides, padding, groups), (x, kernel)


def _conv_backward(strides, padding, groups, residuals, gradient):
  settings = {'strides': strides, 'padding': padding, 'groups': groups}
  return jax.lax.platform_dependent(
    *residuals,
    gradient,
    cpu=functools.partial(gradients_for_cpu, **settings),
    default=functools.partial(_native_gradients, **settings),
  )


_conv.defvjp(_conv_forward, _conv_backward)


def _native_gradients(x, kernel, gradient, *, strides, padding, groups):
  _, pullback = jax.vjp(
    lambda a, b: convolve(a, b, strides, padding, groups), x, kernel
  )
  return pullback(gradient)


def _transpose(x, kernel, strides, padding):
  height, width = (
    (n - 1) * strides + k - 2 * padding
    for n, k in zip(x.shape[1:3], kernel.shape)
  )
  shape = (x.shape[0], height, width, kernel.shape[2])
  return input_gradient(kernel, x, shape, strides, padding, groups=1)


_conv_transpose = jax.custom_vjp(_transpose, nondiff_argnums=(2, 3))


def _transpose_forward(x, kernel, strides, padding):
  return _conv_transpose(x, kernel, strides, padding), (x, kernel)


def _transpose_backward(strides, padding, residuals, gradient):
  def gradients_for_cpu(x, kernel, gradient):
    # `gradient` has the shape of conv2d's images here, and `x` of its output.
    return (
      convolve(gradient, kernel, strides, padding, groups=1),
      kernel_gradient(gradient, x, kernel.shape, strides, padding),
    )

  def native(x, kernel, gradient):
    _, pullback = jax.vjp(
      lambda a, b: _transpose(a, b, strides, padding), x, kernel
    )
    return pullback(gradient)

  return jax.lax.platform_dependent(
    *residuals, gradient, cpu=gradients_for_cpu, default=native
  )


_conv_transpose.defvjp(_transpose_forward, _transpose_backward)
