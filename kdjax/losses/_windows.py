"""Weighted means of a map over a window at each place, in two ways."""

import functools
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.losses.numerics import HIGHEST

Border = Literal['reflect', 'valid']
# `(maps [B, H, W, C], weights [k], border) -> [B, H', W', C]`.
WindowMeans = Callable[[jax.Array, np.ndarray, Border], jax.Array]

BORDERS = ('reflect', 'valid')
# An axis longer than this is cheaper by shifts: a product's cost per element
# grows with the length, that of shifts is the window. See docs/ssim.md.
LONGEST_PRODUCT = 128


def gaussian_window(size: int, sigma: float) -> np.ndarray:
  """Float64 weights `[size]` that add up to 1.

  Raises:
    ValueError: If the size is not odd or sigma not positive.
  """
  if size < 1 or size % 2 == 0 or not sigma > 0:
    raise ValueError(
      'A window needs an odd size, so that it has a centre, and a positive '
      f'sigma; got {size} and {sigma}.'
    )
  places = np.arange(size) - size // 2
  weights = np.exp(-(places**2) / (2 * sigma**2))
  return weights / weights.sum()


def window_means(
  maps: jax.Array, weights: np.ndarray, border: Border
) -> jax.Array:
  """Each axis by whichever way measures faster for its length.

  Products for an axis of at most `LONGEST_PRODUCT`, shifts for longer ones.
  Both give the same numbers to rounding.

  Args:
    maps: `[B, H, W, C]`, float32 or float64.
    weights: Odd `[k]`; the window is their outer product with themselves.
    border: `reflect` mirrors the map at its edge, without the edge itself and
      again and again where the map is smaller than the window, and repeats the
      value of an axis of one place. `valid` takes the places whose window lies
      within the map.

  Returns:
    `[B, H, W, C]`, with `valid` k - 1 places less in both axes.

  Raises:
    ValueError: If a map is smaller than the window and the border is `valid`.
  """
  for axis in (1, 2):
    short = maps.shape[axis] <= LONGEST_PRODUCT
    along = _product_along if short else _shifts_along
    maps = along(maps, weights, border, axis)
  return maps


def window_means_by_products(
  maps: jax.Array, weights: np.ndarray, border: Border
) -> jax.Array:
  """As `window_means`, both axes as products with a banded matrix."""
  rows = _product_along(maps, weights, border, 1)
  return _product_along(rows, weights, border, 2)


def window_means_by_shifts(
  maps: jax.Array, weights: np.ndarray, border: Border
) -> jax.Array:
  """As `window_means`, both axes as a separable depthwise convolution.

  Its gradient exists in reverse mode only.
  """
  rows = _shifts_along(maps, weights, border, 1)
  return _shifts_along(rows, weights, border, 2)


def banded_matrix(
  length: int, weights: np.ndarray, border: Border
) -> np.ndarray:
  """What the window does to one axis, borders included, `[places, length]`."""
  half = len(weights) // 2
  places = np.arange(length)
  if border == 'reflect':
    places = np.pad(places, half, mode='reflect')
  count = len(places) - 2 * half
  matrix = np.zeros((count, length))
  rows = np.arange(count)
  for shift, weight in enumerate(weights):
    np.add.at(matrix, (rows, places[shift : shift + count]), weight)
  return matrix


def _product_along(maps, weights, border, axis):
  _check_fits(maps.shape[axis], weights, border)
  batch, height, width, channels = maps.shape
  matrix = banded_matrix(maps.shape[axis], weights, border)
  # What lies behind the axis is one long row, so that each product is wide;
  # a batched product is the form that XLA's CPU compiler runs without copies.
  lead = batch if axis == 1 else batch * height
  rows = maps.reshape(lead, maps.shape[axis], -1)
  matrices = jnp.broadcast_to(
    jnp.asarray(matrix, maps.dtype), (lead, *matrix.shape)
  )
  means = jnp.matmul(matrices, rows, precision=HIGHEST)
  sizes = [batch, height, width, channels]
  sizes[axis] = len(matrix)
  return means.reshape(sizes)


def _shifts_along(maps, weights, border, axis):
  _check_fits(maps.shape[axis], weights, border)
  if border == 'reflect':
    half = len(weights) // 2
    pads = [(half, half) if a == axis else (0, 0) for a in range(4)]
    maps = jnp.pad(maps, pads, mode='reflect')
  return _correlate(maps, tuple(weights.tolist()), axis)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _correlate(maps, weights, axis):
  """Sum of shifted maps, over the places where the window fits."""
  count = maps.shape[axis] - len(weights) + 1
  # The barriers keep XLA from computing the padding once per shift, and the
  # sum once per place that the next axis' window sees.
  maps = jax.lax.optimization_barrier(maps)
  shifted = [
    jnp.asarray(weight, maps.dtype)
    * jax.lax.slice_in_dim(maps, shift, shift + count, axis=axis)
    for shift, weight in enumerate(weights)
  ]
  return jax.lax.optimization_barrier(functools.reduce(jnp.add, shifted))


def _correlate_forward(maps, weights, axis):
  return _correlate(maps, weights, axis), None


def _correlate_backward(weights, axis, _, gradient):
  # The adjoint, as shifts again: what `grad` would make of the slices is a sum
  # of as many padded maps, many times slower.
  pads = [(len(weights) - 1,) * 2 if a == axis else (0, 0) for a in range(4)]
  return (_correlate(jnp.pad(gradient, pads), weights[::-1], axis),)


_correlate.defvjp(_correlate_forward, _correlate_backward)


def _check_fits(length, weights, border):
  if border not in BORDERS:
    raise ValueError(f'border must be one of {BORDERS}, got {border!r}.')
  if border == 'valid' and length < len(weights):
    raise ValueError(
      f'A window of {len(weights)} fits nowhere into {length} places with '
      'border=valid; give a smaller window, or border=reflect, which mirrors '
      'the map.'
    )
