"""Random flips and color jitter inside jit, as in torchvision."""

import dataclasses

import jax
import jax.numpy as jnp

from kdjax.data.augment import to_float
from kdjax.typing import Batch

_GRAY_WEIGHTS = (0.299, 0.587, 0.114)  # of red, green and blue, by ITU-R 601


@dataclasses.dataclass(frozen=True)
class ColorJitter:
  r"""Random horizontal flip, then random brightness, contrast and saturation.

  Each of the three, in a random order per image, replaces the image :math:`x`
  by :math:`f x + (1 - f) g` clipped to [0, 1], with a random factor :math:`f`
  that is uniform in :math:`[1 - s, 1 + s]` for a strength :math:`s`, and

  * brightness: :math:`g = 0`,
  * contrast: :math:`g` the mean gray level of the image,
  * saturation: :math:`g` the gray level of each pixel.

  Called as `augment(key, batch)`; see `__call__`. As in `Augmentation`, the
  random numbers of an example depend on the key and its position in the batch
  alone. Unlike in Pillow nothing is rounded to 8 bits between the steps.

  Attributes:
    flip: Whether half of the images are flipped, left to right.
    brightness: Strength, in [0, 1].
    contrast: Strength, in [0, 1].
    saturation: Strength, in [0, 1].

  Raises:
    ValueError: If a strength is not in [0, 1].
  """

  flip: bool = True
  brightness: float = 0.3
  contrast: float = 0.3
  saturation: float = 0.3

  def __post_init__(self):
    for name in ('brightness', 'contrast', 'saturation'):
      if not 0 <= getattr(self, name) <= 1:
        raise ValueError(
          f'{name} must be in [0, 1], got {getattr(self, name)}.'
        )

  def __call__(self, key: jax.Array, batch: Batch) -> Batch:
    """Replaces each image of a batch by one random view of it.

    Args:
      key: Random key of the batch.
      batch: `image` uint8 `[B, H, W, 3]` and any other entries.

    Returns:
      The same entries, with `image` float32 `[B, H, W, 3]` in [0, 1].

    Raises:
      ValueError: If the images are not uint8 in color.
    """
    images = batch['image']
    if images.ndim != 4 or images.dtype != jnp.uint8 or images.shape[-1] != 3:
      raise ValueError(
        'color jitter takes uint8 [B, height, width, 3], got '
        f'{images.dtype} {images.shape}.'
      )
    examples = jnp.arange(images.shape[0], dtype=jnp.uint32)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, examples)
    views = jax.vmap(self._random_view)(keys, to_float(images))
    return {**batch, 'image': views}

  def _random_view(self, key: jax.Array, image: jax.Array) -> jax.Array:
    flip_key, factor_key, order_key = jax.random.split(key, 3)
    if self.flip:
      flipped = jax.random.bernoulli(flip_key)
      image = jnp.where(flipped, image[:, ::-1], image)
    strengths = jnp.array([self.brightness, self.contrast, self.saturation])
    factors = 1 + strengths * jax.random.uniform(
      factor_key, (3,), minval=-1, maxval=1
    )
    order = jax.random.permutation(order_key, 3)
    return jitter(image, factors, order)


def jitter(image: jax.Array, factors: jax.Array, order: jax.Array) -> jax.Array:
  """Applies brightness, contrast and saturation to one image.

  Args:
    image: Float `[H, W, 3]` in [0, 1].
    factors: `[3]`, factors of brightness, contrast and saturation.
    order: Integer `[3]`, a permutation: which of them comes first, second and
      third.

  Returns:
    `[H, W, 3]` in [0, 1]; see `ColorJitter` for the formula.
  """
  for i in range(3):
    step = order[i]
    gray = jnp.sum(image * jnp.array(_GRAY_WEIGHTS), axis=-1, keepdims=True)
    target = jnp.where(step == 1, gray.mean(), gray)
    target = jnp.where(step == 0, 0.0, target)
    factor = factors[step]
    image = jnp.clip(factor * image + (1 - factor) * target, 0, 1)
  return image
