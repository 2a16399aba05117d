"""Random flips and colours inside jit, as torchvision has them."""

import dataclasses

import jax
import jax.numpy as jnp

from kdjax.data.augment import to_float

_GREY = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R 601


@dataclasses.dataclass(frozen=True)
class ColorJitter:
  r"""A random horizontal flip, then brightness, contrast and saturation.

  Each of the three, in an order drawn for every image, replaces the image
  :math:`x` by :math:`f x + (1 - f) g` cut to [0, 1], with a factor :math:`f`
  uniform within its strength of 1 and

  * brightness: :math:`g = 0`,
  * contrast: :math:`g` the mean over the image of its grey level,
  * saturation: :math:`g` the grey level of each pixel.

  Called as `augment(key, images)` with uint8 `[B, H, W, 3]`; returns float32 of
  the same shape in [0, 1]. Draws are as in `Augmentation`: those of an example
  depend on its place in the batch alone. Unlike Pillow nothing is rounded to 8
  bits between the steps.

  Attributes:
    flip: Whether half of the images are mirrored, left to right.
    brightness: Strength, in [0, 1].
    contrast: Strength, in [0, 1].
    saturation: Strength, in [0, 1].

  Raises:
    ValueError: If a strength is outside, or images are not uint8 in colour.
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

  def __call__(self, key: jax.Array, images: jax.Array) -> jax.Array:
    """One random view of each image."""
    if images.ndim != 4 or images.dtype != jnp.uint8 or images.shape[-1] != 3:
      raise ValueError(
        'colour jitter takes uint8 [B, height, width, 3], got '
        f'{images.dtype} {images.shape}.'
      )
    examples = jnp.arange(images.shape[0], dtype=jnp.uint32)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, examples)
    return jax.vmap(self._view)(keys, to_float(images))

  def _view(self, key: jax.Array, image: jax.Array) -> jax.Array:
    flip_key, factor_key, order_key = jax.random.split(key, 3)
    if self.flip:
      mirrored = jax.random.bernoulli(flip_key)
      image = jnp.where(mirrored, image[:, ::-1], image)
    strengths = jnp.array([self.brightness, self.contrast, self.saturation])
    factors = 1 + strengths * jax.random.uniform(
      factor_key, (3,), minval=-1, maxval=1
    )
    order = jax.random.permutation(order_key, 3)
    return jitter(image, factors, order)


def jitter(image: jax.Array, factors: jax.Array, order: jax.Array) -> jax.Array:
  """One image through the three steps of `ColorJitter`.

  Args:
    image: Float `[H, W, 3]` in [0, 1].
    factors: `[3]`, of brightness, contrast and saturation.
    order: int `[3]`: which of them comes first, second and third.
  """
  for place in range(3):
    step = order[place]
    grey = jnp.sum(image * jnp.array(_GREY), axis=-1, keepdims=True)
    toward = jnp.where(step == 1, grey.mean(), grey)
    toward = jnp.where(step == 0, 0.0, toward)
    factor = factors[step]
    image = jnp.clip(factor * image + (1 - factor) * toward, 0, 1)
  return image
