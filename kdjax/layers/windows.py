"""Pooling and depthwise convolution as operations on shifted images.

A sum or maximum over a small window becomes a sum or maximum of whole arrays,
one per element of the window. XLA's CPU compiler fuses those, while its own
depthwise convolutions and the gradient of its max pooling take 10 to 100 times
as long (`benchmarks.convolution`).
"""

import functools

import jax
import jax.numpy as jnp


def windows(
  x: jax.Array, size: int, strides: int, padding: int, fill: float = 0.0
) -> list[jax.Array]:
  """Returns one strided slice of the images per element of a window.

  Args:
    x: Images `[B, H, W, C]`.
    size: Height and width of the window.
    strides: Stride of both axes.
    padding: Pixels added on every side.
    fill: Value of the added pixels.

  Returns:
    `size²` arrays `[B, H', W', C]`, row by row, with
    `H' = (H + 2 padding - size) // strides + 1`.
  """
  pads = ((0, 0), (padding, padding), (padding, padding), (0, 0))
  x = jnp.pad(x, pads, constant_values=fill) if padding else x
  rows, columns = (
    [slice(u, u + n - size + 1, strides) for u in range(size)]
    for n in x.shape[1:3]
  )
  return [x[:, row, column] for row in rows for column in columns]


def max_pool(
  x: jax.Array, size: int, strides: int, padding: int = 0
) -> jax.Array:
  """Computes the maximum of each window; equal maxima share the gradient.

  Args:
    x: `[B, H, W, C]`.
    size: Height and width of the window.
    strides: Stride of both axes.
    padding: Pixels added on every side, which are never the maximum.

  Returns:
    `[B, H', W', C]`; see `windows`.
  """
  shifted = windows(x, size, strides, padding, -jnp.inf)
  return functools.reduce(jnp.maximum, shifted)


def mean_pool(
  x: jax.Array, size: int, strides: int, padding: int = 0
) -> jax.Array:
  """Computes the mean of each window.

  Args:
    x: `[B, H, W, C]`.
    size: Height and width of the window.
    strides: Stride of both axes.
    padding: Pixels added on every side, which count as zeros.

  Returns:
    `[B, H', W', C]`; see `windows`.
  """
  shifted = windows(x, size, strides, padding)
  return functools.reduce(jnp.add, shifted) / size**2


def depthwise(
  x: jax.Array, kernel: jax.Array, strides: int, padding: int
) -> jax.Array:
  """Computes a depthwise convolution, as `conv2d` does.

  Args:
    x: Images `[B, H, W, C]`.
    kernel: `[k, k, 1, C]`.
    strides: Stride of both axes.
    padding: Zeros on every side.

  Returns:
    `[B, H', W', C]`; see `windows`.
  """
  shifted = windows(x, kernel.shape[0], strides, padding)
  weights = kernel.reshape(len(shifted), -1)
  products = [image * weight for image, weight in zip(shifted, weights)]
  return functools.reduce(jnp.add, products)


def depthwise_gradients(
  x: jax.Array,
  kernel: jax.Array,
  gradient: jax.Array,
  strides: int,
  padding: int,
) -> tuple[jax.Array, jax.Array]:
  """Computes the gradients of `depthwise`.

  Args:
    x: Images `[B, H, W, C]`.
    kernel: `[k, k, 1, C]`.
    gradient: Gradient of the output, `[B, H', W', C]`.
    strides: Stride of both axes.
    padding: Zeros on every side.

  Returns:
    Gradients with respect to `x` and to `kernel`, of their shapes.
  """
  size = kernel.shape[0]
  # Zeros between the rows and after them restore the positions of the input.
  trailing = [
    n + 2 * padding - size - strides * (m - 1)
    for n, m in zip(x.shape[1:3], gradient.shape[1:3])
  ]
  zero = jnp.zeros((), gradient.dtype)
  pads = [(size - 1 - padding, t + size - 1 - padding) for t in trailing]
  config = [
    (0, 0, 0),
    *((low, high, strides - 1) for low, high in pads),
    (0, 0, 0),
  ]
  dilated = jax.lax.pad(gradient, zero, config)
  x_gradient = depthwise(dilated, kernel[::-1, ::-1], 1, 0)
  shifted = windows(x, size, strides, padding)
  sums = [(image * gradient).sum((0, 1, 2)) for image in shifted]
  return x_gradient, jnp.stack(sums).reshape(kernel.shape)
