"""Convolution whose gradients stay fast in the body of a loop on the CPU."""

import functools

import jax
import jax.numpy as jnp

from kdjax.layers import windows

_DIMENSIONS = ('NHWC', 'HWIO', 'NHWC')


def conv2d(
  x: jax.Array,
  kernel: jax.Array,
  *,
  strides: int = 1,
  padding: int = 0,
  groups: int = 1,
) -> jax.Array:
  r"""Cross-correlation of images with a kernel, as every library calls it.

  .. math::
    y_{nijo} = \sum_{uvc} x_{n,\,si+u-p,\,sj+v-p,\,c} \, k_{uvco}

  with stride :math:`s` and :math:`p` zeros around the image on every side. That
  is PyTorch's padding; `SAME` of XLA pads stride 2 on one side only.

  The value and both gradients are those of `jax.lax.conv_general_dilated`. What
  differs is how the gradients are written for the CPU: XLA rewrites the ones
  that `grad` makes into the order its fast kernel takes only outside of loops
  and branches, and inside they run 20 to 90 times slower (jax issue 12868).
  Here they are in that order from the start, and depthwise convolutions, slow
  there in any order, are sums of shifted images. Reverse mode only.

  Args:
    x: Images `[B, H, W, C]`.
    kernel: `[kh, kw, C / groups, O]`, of the dtype of `x`.
    strides: Of both axes.
    padding: Zeros on each of the four sides.
    groups: Channels of input and output fall into so many groups, each with a
      convolution of its own; `groups == C` is a depthwise convolution.

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
  r"""The transpose of `conv2d` in its images, as PyTorch's has it.

  .. math::
    y_{n,\,si+u-p,\,sj+v-p,\,c} = \sum_{o} x_{nijo} \, k_{uvco}

  summed over all places that meet there, with stride :math:`s`; what falls
  into the border of :math:`p` is cut off. Both gradients are `conv2d`'s, and as
  fast in the body of a loop.

  Args:
    x: `[B, H, W, O]`.
    kernel: `[kh, kw, C, O]`, of the dtype of `x`.
    strides: Of both axes.
    padding: What is cut off on each of the four sides.

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


def _transposed(x, kernel, strides, padding):
  height, width = (
    (n - 1) * strides + k - 2 * padding
    for n, k in zip(x.shape[1:3], kernel.shape)
  )
  shape = (x.shape[0], height, width, kernel.shape[2])
  return _input_gradient(kernel, x, shape, strides, padding, groups=1)


_conv_transpose = jax.custom_vjp(_transposed, nondiff_argnums=(2, 3))


def _transpose_forward(x, kernel, strides, padding):
  return _conv_transpose(x, kernel, strides, padding), (x, kernel)


def _transpose_backward(strides, padding, residuals, gradient):
  def of_conv(x, kernel, gradient):
    # What conv2d's output is to its images, `x` is to `gradient` here.
    return (
      _native(gradient, kernel, strides, padding, groups=1),
      _kernel_gradient(gradient, x, kernel.shape, strides, padding),
    )

  def native(x, kernel, gradient):
    _, pullback = jax.vjp(
      lambda a, b: _transposed(a, b, strides, padding), x, kernel
    )
    return pullback(gradient)

  return jax.lax.platform_dependent(
    *residuals, gradient, cpu=of_conv, default=native
  )


_conv_transpose.defvjp(_transpose_forward, _transpose_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _conv(x, kernel, strides, padding, groups):
  native = functools.partial(
    _native, strides=strides, padding=padding, groups=groups
  )
  if not _is_depthwise(kernel, groups):
    return native(x, kernel)
  shifted = functools.partial(
    windows.depthwise, strides=strides, padding=padding
  )
  return jax.lax.platform_dependent(x, kernel, cpu=shifted, default=native)


def _forward(x, kernel, strides, padding, groups):
  return _conv(x, kernel, strides, padding, groups), (x, kernel)


def _backward(strides, padding, groups, residuals, gradient):
  settings = {'strides': strides, 'padding': padding, 'groups': groups}
  return jax.lax.platform_dependent(
    *residuals,
    gradient,
    cpu=functools.partial(_gradients_for_cpu, **settings),
    default=functools.partial(_native_gradients, **settings),
  )


_conv.defvjp(_forward, _backward)


def _native(x, kernel, strides, padding, groups):
  return jax.lax.conv_general_dilated(
    x,
    kernel,
    (strides, strides),
    ((padding, padding),) * 2,
    dimension_numbers=_DIMENSIONS,
    feature_group_count=groups,
  )


def _native_gradients(x, kernel, gradient, *, strides, padding, groups):
  _, pullback = jax.vjp(
    lambda a, b: _native(a, b, strides, padding, groups), x, kernel
  )
  return pullback(gradient)


def _is_depthwise(kernel, groups):
  """Whether each channel has a square kernel of its own and gives one."""
  height, width, inputs, outputs = kernel.shape
  return inputs == 1 and outputs == groups > 1 and height == width


def _gradients_for_cpu(x, kernel, gradient, *, strides, padding, groups):
  if _is_depthwise(kernel, groups):
    return windows.depthwise_gradients(x, kernel, gradient, strides, padding)
  x_gradient = _input_gradient(
    kernel, gradient, x.shape, strides, padding, groups
  )
  if groups == 1:
    return x_gradient, _kernel_gradient(
      x, gradient, kernel.shape, strides, padding
    )
  return x_gradient, _grouped_kernel_gradient(
    x, gradient, kernel.shape, strides, padding, groups
  )


def _input_gradient(kernel, gradient, shape, strides, padding, groups):
  """The output's gradient, dilated, by the kernel turned round."""
  kh, kw, _, outputs = kernel.shape
  turned = kernel[::-1, ::-1].reshape(kh, kw, -1, groups, outputs // groups)
  turned = turned.transpose(0, 1, 4, 3, 2).reshape(
    kh, kw, outputs // groups, shape[-1]
  )
  pads = [
    (k - 1 - padding, n + padding - 1 - strides * (m - 1))
    for k, n, m in zip(kernel.shape, shape[1:3], gradient.shape[1:3])
  ]
  return jax.lax.conv_general_dilated(
    gradient,
    turned,
    (1, 1),
    pads,
    lhs_dilation=(strides, strides),
    dimension_numbers=_DIMENSIONS,
    feature_group_count=groups,
  )


def _kernel_gradient(x, gradient, shape, strides, padding):
  """The images by the output's gradient, channels taking the batch's place."""
  pads = [
    (padding, k + strides * (m - 1) - n - padding)
    for k, n, m in zip(shape, x.shape[1:3], gradient.shape[1:3])
  ]
  # Nothing else would keep XLA from turning the images round in the forward
  # pass already, and that copy from staying until the gradient is there. A
  # barrier would not: the CPU's compiler drops them before it orders the steps.
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
  """One product of shifted images and gradients per place in the kernel."""
  kh, kw, inputs, outputs = shape
  _, height, width, _ = gradient.shape
  x = jnp.pad(x, ((0, 0), (padding,) * 2, (padding,) * 2, (0, 0)))
  x = x.reshape(*x.shape[:3], groups, inputs)
  gradient = gradient.reshape(*gradient.shape[:3], groups, outputs // groups)

  def at(u, v):
    rows = slice(u, u + strides * (height - 1) + 1, strides)
    columns = slice(v, v + strides * (width - 1) + 1, strides)
    seen = x[:, rows, columns]
    product = jnp.einsum('bhwgi,bhwgo->igo', seen, gradient)
    return product.reshape(inputs, outputs)

  return jnp.stack(
    [jnp.stack([at(u, v) for v in range(kw)]) for u in range(kh)]
  )
