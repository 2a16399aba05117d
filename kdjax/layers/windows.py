"""What every place of a small window sees, as strided slices of the image.

Sums and maxima over a window become sums and maxima of whole arrays. XLA's CPU
compiler fuses those, while its own depthwise convolutions and the gradient of
its largest-of-a-window take 10 to 100 times as long (`benchmarks.convolution`).
"""

import functools

import jax
import jax.numpy as jnp


def windows(
  x: jax.Array, size: int, strides: int, padding: int, fill: float = 0.0
) -> list[jax.Array]:
  """What each place of the window sees, row by row.

  Args:
    x: `[B, H, W, C]`.
    size: The window's height and width.
    strides: Of both axes.
    padding: Values of `fill` on every side.
    fill: See `padding`.

  Returns:
    `size²` arrays `[B, H', W', C]`, with
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
  """Largest of each window; the border never wins, ties share the gradient.

  Shapes as of `windows`: `[B, H, W, C]` to `[B, H', W', C]`.
  """
  seen = windows(x, size, strides, padding, -jnp.inf)
  return functools.reduce(jnp.maximum, seen)


def mean_pool(
  x: jax.Array, size: int, strides: int, padding: int = 0
) -> jax.Array:
  """Mean of each window; the border counts as zeros.

  Shapes as of `windows`: `[B, H, W, C]` to `[B, H', W', C]`.
  """
  seen = windows(x, size, strides, padding)
  return functools.reduce(jnp.add, seen) / size**2


def depthwise(
  x: jax.Array, kernel: jax.Array, strides: int, padding: int
) -> jax.Array:
  """The depthwise convolution of `conv2d` by a kernel `[k, k, 1, C]`."""
  seen = windows(x, kernel.shape[0], strides, padding)
  weights = kernel.reshape(len(seen), -1)
  products = [at * weight for at, weight in zip(seen, weights)]
  return functools.reduce(jnp.add, products)


def depthwise_gradients(
  x: jax.Array,
  kernel: jax.Array,
  gradient: jax.Array,
  strides: int,
  padding: int,
) -> tuple[jax.Array, jax.Array]:
  """Those of `depthwise` by `x` and by `kernel`."""
  size = kernel.shape[0]
  # Zeros between the rows and behind them bring back the input's places.
  behind = [
    n + 2 * padding - size - strides * (m - 1)
    for n, m in zip(x.shape[1:3], gradient.shape[1:3])
  ]
  zero = jnp.zeros((), gradient.dtype)
  pads = [(size - 1 - padding, b + size - 1 - padding) for b in behind]
  config = [
    (0, 0, 0),
    *((low, high, strides - 1) for low, high in pads),
    (0, 0, 0),
  ]
  spread = jax.lax.pad(gradient, zero, config)
  x_gradient = depthwise(spread, kernel[::-1, ::-1], 1, 0)
  seen = windows(x, size, strides, padding)
  sums = [(at * gradient).sum((0, 1, 2)) for at in seen]
  return x_gradient, jnp.stack(sums).reshape(kernel.shape)
