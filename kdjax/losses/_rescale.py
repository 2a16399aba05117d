"""Min-max rescaling of feature maps to [0, 1]."""

from typing import Literal

import jax
import jax.numpy as jnp

from kdjax.losses.numerics import full_precision

Extent = Literal['channel', 'sample', 'batch', 'none']

# Which axes of [B, H, W, C] share a minimum and a maximum.
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
  r"""Maps to [0, 1] by their least and their largest value.

  .. math::
    \nu(F) = \frac{F - \min F}{\max F - \min F + \epsilon}

  ========= ============================================== ==================
  `extent`  one minimum and one maximum for                and then
  ========= ============================================== ==================
  `channel` each image and channel                         a channel's scale
                                                           and shift are lost
  `sample`  each image                                     channels keep their
                                                           relative scale
  `batch`   the whole batch, over all devices              the value depends
                                                           on the batch
  `none`    nothing: the maps as they are, in full
            precision
  ========= ============================================== ==================

  A constant map becomes 0. The gradient goes through minimum and maximum,
  shared equally among ties; where a range is small it is large, up to
  :math:`1 / \epsilon`.

  Args:
    maps: Float `[B, H, W, C]`.
    extent: Over what the extremes are taken.
    epsilon: :math:`\epsilon`.
    stop_gradient_range: Treats minimum and maximum as constants.

  Returns:
    `[B, H, W, C]`, float32 at least.

  Raises:
    ValueError: If the extent is unknown or `maps` is no array of maps.
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
