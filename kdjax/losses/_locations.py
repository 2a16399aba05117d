"""Features at the places of a map, and means over the places that count."""

import jax
import jax.numpy as jnp

from kdjax.losses.numerics import full_precision


def neighborhoods(maps: jax.Array, size: int = 3) -> jax.Array:
  """What a convolution sees at each place of a map, as one feature.

  With zeros around the map. `neighborhoods(x) @ kernel.reshape(-1, outputs)`
  is the convolution of `x` with a kernel `[size, size, C, outputs]`: a detector
  whose classifier is a convolution is linear in these features.

  Args:
    maps: `[B, H, W, C]`.
    size: Odd, the kernel's height and width.

  Returns:
    `[B, H · W, size · size · C]`, the places row by row; within a feature by
    row, column and channel of the neighbourhood.

  Raises:
    ValueError: If it is not an array of maps or the size is even.
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


def judged_locations(matched: jax.Array, anchors: int) -> jax.Array:
  """Which places have an anchor that the detector is trained on.

  Args:
    matched: Integer `[B, L · anchors]`, of each anchor the box it is matched
      with, -1 for background, -2 for an anchor that is ignored.
    anchors: Anchors per place.

  Returns:
    Bool `[B, L]`: false where all anchors of a place are ignored.
  """
  each = matched.reshape(len(matched), -1, anchors)
  return jnp.any(each != -2, axis=-1)


def mean_over_locations(values: jax.Array, kept: jax.Array) -> jax.Array:
  r"""Mean over the kept places of an image, then over the images with any.

  .. math::
    \frac{1}{M + 10^{-7}} \sum_{i : n_i > 0} \frac{1}{n_i}
      \sum_{l \text{ kept}} v_{il}

  with :math:`M` images that have kept places, :math:`n_i` of them; 0 where no
  image has any. The small number is that of the LSHFM code.

  Args:
    values: Float `[B, L]`.
    kept: Bool `[B, L]`.

  Returns:
    A scalar, in float32 at least.

  Raises:
    ValueError: If the shapes differ.
  """
  if values.shape != kept.shape or values.ndim != 2:
    raise ValueError(
      'mean_over_locations needs values and a mask [B, L], got '
      f'{values.shape} and {kept.shape}.'
    )
  values = full_precision(values)
  counts = jnp.sum(kept, axis=1)
  sums = jnp.sum(jnp.where(kept, values, 0), axis=1)
  means = sums / jnp.maximum(counts, 1)
  return jnp.sum(means) / (jnp.sum(counts > 0) + 1e-7)
