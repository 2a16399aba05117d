"""Features at the locations of a feature map and means over valid locations."""

# pyright: reportUnknownMemberType=false

import jax
import jax.numpy as jnp

from kdjax.losses.numerics import full_precision

_IGNORED = -2  # an anchor that is neither an object nor background


def neighborhoods(maps: jax.Array, size: int = 3) -> jax.Array:
  """Extracts the zero-padded receptive field of a convolution at each pixel.

  `neighborhoods(x) @ kernel.reshape(-1, outputs)` is the convolution of `x`
  with a kernel `[size, size, C, outputs]`: a detector with a convolutional
  classifier is linear in these features.

  Args:
    maps: Feature maps, float `[B, H, W, C]`.
    size: Height and width of the kernel, odd.

  Returns:
    `[B, H · W, size · size · C]`: pixels in row-major order; the features of a
    pixel by row, column and channel of its neighborhood.

  Raises:
    ValueError: If `maps` is not `[B, H, W, C]` or the size is even.
  """
  if maps.ndim != 4 or size < 1 or size % 2 == 0:
    raise ValueError(
      'neighborhoods needs maps [B, H, W, C] and an odd size, got '
      f'{maps.shape} and {size}.'
    )
  batch, height, width, _ = maps.shape
  half = size // 2
  padded = jnp.pad(maps, ((0, 0), (half, half), (half, half), (0, 0)))
  shifted = [
    padded[:, y : y + height, x : x + width]
    for y in range(size)
    for x in range(size)
  ]
  return jnp.concatenate(shifted, axis=-1).reshape(batch, height * width, -1)


def valid_locations(matched: jax.Array, anchors: int) -> jax.Array:
  """Returns which locations have an anchor in the loss of the detector.

  Args:
    matched: Index of the box that each anchor is matched with, integer
      `[B, L · anchors]`; -1 for background, -2 for an ignored anchor.
    anchors: Number of anchors per location.

  Returns:
    Bool `[B, L]`; false if all anchors of a location are ignored.
  """
  by_location = matched.reshape(len(matched), -1, anchors)
  return jnp.any(by_location != _IGNORED, axis=-1)


def mean_over_locations(values: jax.Array, valid: jax.Array) -> jax.Array:
  r"""Computes the mean over valid locations, then over images with any.

  .. math::
    \frac{1}{M + 10^{-7}} \sum_{i : n_i > 0} \frac{1}{n_i}
      \sum_{l \text{ valid}} v_{il}

  with :math:`M` images that have valid locations, :math:`n_i` of them in image
  :math:`i`. The constant is that of the LSHFM code.

  Args:
    values: Float `[B, L]`.
    valid: Bool `[B, L]`.

  Returns:
    A scalar, in at least float32; 0 if no image has a valid location.

  Raises:
    ValueError: If the shapes differ or are not `[B, L]`.

  References:
    Wang, Ge and Wu, `Distilling Knowledge by Mimicking Features
    <https://arxiv.org/abs/2011.01424>`_, 2021.
  """
  if values.shape != valid.shape or values.ndim != 2:
    raise ValueError(
      'mean_over_locations needs values and a mask [B, L], got '
      f'{values.shape} and {valid.shape}.'
    )
  values = full_precision(values)
  counts = jnp.sum(valid, axis=1)
  sums = jnp.sum(jnp.where(valid, values, 0), axis=1)
  means = sums / jnp.maximum(counts, 1)
  return jnp.sum(means) / (jnp.sum(counts > 0) + 1e-7)
