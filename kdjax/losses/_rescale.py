"""Min-max rescaling of feature maps to [0, 1]."""

from typing import Literal

import jax
import jax.numpy as jnp

from kdjax.losses.numerics import full_precision

Extent = Literal['channel', 'sample', 'batch', 'none']

# Axes of [B, H, W, C] that share a minimum and a maximum.
EXTENTS: dict[str, tuple[int, ...]] = {
  'channel': (1, 2),
  'sample': (1, 2, 3),
  'batch': (0, 1, 2, 3),
  'none': (),
}


def min_max_rescale(
  maps: jax.Array,
  *,
  extent: Extent = 'channel',
  epsilon: float = 1e-6,
  stop_gradient_range: bool = False,
) -> jax.Array:
  r"""Rescales feature maps to [0, 1] by their minimum and maximum.

  .. math::
    \nu(F) = \frac{F - \min F}{\max F - \min F + \epsilon}

  ========= ============================ =======================================
  `extent`  minimum and maximum of       consequence
  ========= ============================ =======================================
  `channel` each channel of each image   scale and shift of a channel are lost
  `sample`  each image                   channels keep their relative scale
  `batch`   the batch, over all devices  the value of an image depends on others
  `none`    (no rescaling)               maps are only promoted to float32
  ========= ============================ =======================================

  A constant map becomes 0. The gradient includes minimum and maximum, shared
  equally among ties. It is up to :math:`1 / \epsilon` times larger where the
  range is small.

  Args:
    maps: Feature maps, float `[B, H, W, C]`.
    extent: Key of `EXTENTS`: the elements that share a range.
    epsilon: :math:`\epsilon`.
    stop_gradient_range: Whether to treat minimum and maximum as constants.

  Returns:
    `[B, H, W, C]`, in at least float32.

  Raises:
    ValueError: If the extent is unknown or `maps` is not `[B, H, W, C]`.
  """
  if extent not in EXTENTS or maps.ndim != 4:
    raise ValueError(
      f'min_max_rescale needs maps [B, H, W, C] and an extent of '
      f'{tuple(EXTENTS)}, got {maps.shape} and {extent!r}.'
    )
  maps = full_precision(maps)
  if extent == 'none':
    return maps
  axes = EXTENTS[extent]
  low = jnp.min(maps, axis=axes, keepdims=True)
  high = jnp.max(maps, axis=axes, keepdims=True)
  if stop_gradient_range:
    low, high = jax.lax.stop_gradient((low, high))
  return (maps - low) / (high - low + epsilon)
