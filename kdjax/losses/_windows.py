"""Weighted window means of feature maps, computed in two ways."""

# pyright: reportUnknownMemberType=false

import functools
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from kdjax.losses.numerics import HIGHEST

Border = Literal['reflect', 'valid']
Weights = npt.NDArray[np.float64]
# `(maps [B, H, W, C], weights [k], border) -> [B, H', W', C]`.
WindowMeans = Callable[[jax.Array, Weights, Border], jax.Array]

BORDERS = ('reflect', 'valid')
# Shifts are faster for longer axes: the operations per element of a product
# grow with the length of the axis, those of shifts with the window. Measured
# by benchmarks/ssim.py.
LONGEST_PRODUCT = 128


def gaussian_window(size: int, sigma: float) -> Weights:
  """Computes the weights of a Gaussian window along one axis.

  Args:
    size: Number of pixels, odd.
    sigma: Standard deviation in pixels.

  Returns:
    Float64 `[size]` with sum 1.

  Raises:
    ValueError: If the size is not odd or sigma not positive.
  """
  if size < 1 or size % 2 == 0 or not sigma > 0:
    raise ValueError(
      'A window needs an odd size, so that it has a center, and a positive '
      f'sigma; got {size} and {sigma}.'
    )
  offsets = np.arange(size) - size // 2
  weights = np.exp(-(offsets**2) / (2 * sigma**2))
  return weights / weights.sum()


def window_means(
  maps: jax.Array, weights: Weights, border: Border
) -> jax.Array:
  """Computes the weighted mean under a window around each pixel.

  It uses matrix products for an axis of at most `LONGEST_PRODUCT` pixels and
  shifts for a longer one, because that is faster. Both have the same result
  up to rounding.

  Args:
    maps: Feature maps, float32 or float64 `[B, H, W, C]`.
    weights: Weights along one axis, `[k]` with odd k; the window is their
      outer product with themselves.
    border: `reflect` mirrors the map at its edge without repeating the edge
      (as often as needed if the map is smaller than the window, and repeating
      the value of an axis of one pixel). `valid` omits the pixels whose window
      exceeds the map.

  Returns:
    `[B, H, W, C]`, or k - 1 pixels less in height and width with `valid`.

  Raises:
    ValueError: If the border is unknown, or a map is smaller than the window
      and the border is `valid`.
  """
  for axis in (1, 2):
    short = maps.shape[axis] <= LONGEST_PRODUCT
    along_axis = _product_along_axis if short else _shifts_along_axis
    maps = along_axis(maps, weights, border, axis)
  return maps


def window_means_by_products(
  maps: jax.Array, weights: Weights, border: Border
) -> jax.Array:
  """Computes `window_means` with a banded matrix product along both axes.

  Args:
    maps: Feature maps, float32 or float64 `[B, H, W, C]`.
    weights: Weights along one axis, `[k]` with odd k.
    border: `reflect` or `valid`, as in `window_means`.

  Returns:
    `[B, H', W', C]`, as `window_means`.

  Raises:
    ValueError: As `window_means`.
  """
  rows = _product_along_axis(maps, weights, border, 1)
  return _product_along_axis(rows, weights, border, 2)


def window_means_by_shifts(
  maps: jax.Array, weights: Weights, border: Border
) -> jax.Array:
  """Computes `window_means` as a sum of shifted maps along both axes.

  This is a separable depthwise convolution. It supports reverse-mode
  differentiation only.

  Args:
    maps: Feature maps, float32 or float64 `[B, H, W, C]`.
    weights: Weights along one axis, `[k]` with odd k.
    border: `reflect` or `valid`, as in `window_means`.

  Returns:
    `[B, H', W', C]`, as `window_means`.

  Raises:
    ValueError: As `window_means`.
  """
  rows = _shifts_along_axis(maps, weights, border, 1)
  return _shifts_along_axis(rows, weights, border, 2)


def banded_matrix(length: int, weights: Weights, border: Border) -> Weights:
  """Returns the matrix of window means along one axis, with borders.

  Args:
    length: Number of pixels of the axis.
    weights: Weights along the axis, `[k]` with odd k.
    border: `reflect` or `valid`, as in `window_means`.

  Returns:
    Float64 `[length, length]`, or `[length - k + 1, length]` with `valid`.
  """
  half = len(weights) // 2
  pixels = np.arange(length)
  if border == 'reflect':
    pixels = np.pad(pixels, half, mode='reflect')
  count = len(pixels) - 2 * half
  matrix = np.zeros((count, length))
  rows = np.arange(count)
  for shift, weight in enumerate(weights):
    np.add.at(matrix, (rows, pixels[shift : shift + count]), weight)
  return matrix


def _product_along_axis(
  maps: jax.Array, weights: Weights, border: Border, axis: int
) -> jax.Array:
  """Computes window means along one axis as a product with a banded matrix."""
  _check_border(maps.shape[axis], weights, border)
  batch, height, width, channels = maps.shape
  matrix = banded_matrix(maps.shape[axis], weights, border)
  # Merging the axes after `axis` makes each product wide. XLA compiles the
  # batched product without copies on a CPU.
  lead = batch if axis == 1 else batch * height
  rows = maps.reshape(lead, maps.shape[axis], -1)
  matrices = jnp.broadcast_to(
    jnp.asarray(matrix, maps.dtype), (lead, *matrix.shape)
  )
  means = jnp.matmul(matrices, rows, precision=HIGHEST)
  sizes = [batch, height, width, channels]
  sizes[axis] = len(matrix)
  return means.reshape(sizes)


def _shifts_along_axis(
  maps: jax.Array, weights: Weights, border: Border, axis: int
) -> jax.Array:
  """Computes window means along one axis as a sum of shifted maps."""
  _check_border(maps.shape[axis], weights, border)
  if border == 'reflect':
    half = len(weights) // 2
    pads = [(half, half) if a == axis else (0, 0) for a in range(4)]
    maps = jnp.pad(maps, pads, mode='reflect')
  return _correlate(maps, tuple(weights.tolist()), axis)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _correlate(
  maps: jax.Array, weights: tuple[float, ...], axis: int
) -> jax.Array:
  """Computes the correlation with the weights where the window fits."""
  count = maps.shape[axis] - len(weights) + 1
  # The barriers keep XLA from computing the padding once per shift, and the
  # sum once per pixel under the window of the next axis.
  maps = jax.lax.optimization_barrier(maps)
  shifted = [
    jnp.asarray(weight, maps.dtype)
    * jax.lax.slice_in_dim(maps, shift, shift + count, axis=axis)
    for shift, weight in enumerate(weights)
  ]
  return jax.lax.optimization_barrier(functools.reduce(jnp.add, shifted))


def _correlate_forward(
  maps: jax.Array, weights: tuple[float, ...], axis: int
) -> tuple[jax.Array, None]:
  """Computes the correlation; its gradient needs no residuals."""
  return _correlate(maps, weights, axis), None


def _correlate_backward(
  weights: tuple[float, ...], axis: int, _: None, gradient: jax.Array
) -> tuple[jax.Array]:
  """Computes the adjoint as shifts, too.

  The gradient of the slices would be a sum of as many padded maps, which is
  many times slower.
  """
  pads = [(len(weights) - 1,) * 2 if a == axis else (0, 0) for a in range(4)]
  return (_correlate(jnp.pad(gradient, pads), weights[::-1], axis),)


_correlate.defvjp(_correlate_forward, _correlate_backward)


def _check_border(length: int, weights: Weights, border: Border) -> None:
  """Raises unless the border is known and the window fits with `valid`."""
  if border not in BORDERS:
    raise ValueError(f'border must be one of {BORDERS}, got {border!r}.')
  if border == 'valid' and length < len(weights):
    raise ValueError(
      f'A window of {len(weights)} pixels does not fit into {length} pixels '
      'with border=valid; choose a smaller window, or border=reflect, which '
      'mirrors the map.'
    )
