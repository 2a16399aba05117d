"""Augmentation inside jit: uint8 images in, float32 images in [0, 1] out."""

import dataclasses

import jax
import jax.numpy as jnp


def to_float(images: jax.Array) -> jax.Array:
  """Images as networks take them: uint8 to float32 in [0, 1]."""
  return images.astype(jnp.float32) / 255.0


@dataclasses.dataclass(frozen=True)
class Augmentation:
  """Zero-padding, a random crop of the first size, a random horizontal flip.

  Called as `augment(key, images)` with uint8 `[B, H, W, C]`; returns float32 of
  the same shape in [0, 1]. Example i draws from `key` folded with i, its
  position in the (global) batch: what it gets depends neither on the size of
  the batch nor on how the batch is spread over devices.

  Attributes:
    crop_padding: Pixels of zeros on each side before the crop; the window's
      offset is uniform over `2 crop_padding + 1` places along each axis.
    flip: Whether half of the images are mirrored, left to right.

  Raises:
    ValueError: If `crop_padding` is negative, or images are not uint8 of
      rank 4.
  """

  crop_padding: int = 0
  flip: bool = False

  def __post_init__(self):
    if self.crop_padding < 0:
      raise ValueError(
        f'crop_padding must not be negative, got {self.crop_padding}.'
      )

  def __call__(self, key: jax.Array, images: jax.Array) -> jax.Array:
    """One random view of each image."""
    return self.view(images, self.draw(key, images.shape[0]))

  @property
  def views(self) -> int:
    """How many different views an image has: 162 for the field's recipe."""
    return (2 * self.crop_padding + 1) ** 2 * (2 if self.flip else 1)

  def draw(self, key: jax.Array, count: int) -> jax.Array:
    """Which view each of a batch's images gets, int32 `[count]`."""
    examples = jnp.arange(count, dtype=jnp.uint32)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, examples)
    offsets, mirrored = jax.vmap(self._draw)(keys)
    places = 2 * self.crop_padding + 1
    number = offsets[:, 0] * places + offsets[:, 1]
    return 2 * number + mirrored if self.flip else number

  def view(self, images: jax.Array, views: jax.Array) -> jax.Array:
    """Of each image the view of that number, float32 in [0, 1].

    Args:
      images: uint8 `[B, H, W, C]`.
      views: int32 `[B]`, from 0 to `views - 1`: row offset, column offset and
        flip, the last running fastest.
    """
    if images.ndim != 4 or images.dtype != jnp.uint8:
      raise ValueError(
        'augmentation takes uint8 [B, height, width, channels], got '
        f'{images.dtype} {images.shape}.'
      )
    if not self.crop_padding and not self.flip:
      return to_float(images)
    number, mirrored = divmod(views, 2) if self.flip else (views, 0 * views)
    offsets = jnp.stack(jnp.divmod(number, 2 * self.crop_padding + 1), axis=-1)
    return to_float(
      crop_and_flip(images, offsets, mirrored > 0, padding=self.crop_padding)
    )

  def _draw(self, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    crop_key, flip_key = jax.random.split(key)
    places = 2 * self.crop_padding + 1
    offset = jax.random.randint(crop_key, (2,), 0, places)
    return offset, jax.random.bernoulli(flip_key)


def crop_and_flip(
  images: jax.Array, offsets: jax.Array, mirrored: jax.Array, *, padding: int
) -> jax.Array:
  """Windows of zero-padded images, each at its offset, mirrored where asked.

  With :math:`p` = `padding`, :math:`o_b` = `offsets[b]` and zeros outside of
  the image, output pixel :math:`(i, j)` of example :math:`b` is input pixel
  :math:`(i + o_{b0} - p, \\; j' + o_{b1} - p)`, where :math:`j'` is :math:`j`,
  or :math:`W - 1 - j` where mirrored.

  Two gathers along one axis each: measured on a CPU inside `scan`, at a quarter
  of the time of a `dynamic_slice` under `vmap`, which becomes a general gather.

  Args:
    images: `[B, H, W, C]`.
    offsets: int32 `[B, 2]`, vertical and horizontal, in `[0, 2 padding]`.
    mirrored: bool `[B]`.
    padding: Pixels on each side.

  Returns:
    `[B, H, W, C]` of the dtype of `images`.
  """
  _, height, width, _ = images.shape
  sides = (padding, padding)
  padded = jnp.pad(images, ((0, 0), sides, sides, (0, 0)))
  rows = offsets[:, :1] + jnp.arange(height)
  columns = jnp.arange(width)
  columns = jnp.where(mirrored[:, None], columns[::-1], columns)
  columns = offsets[:, 1:] + columns
  taken = jnp.take_along_axis(padded, rows[:, :, None, None], axis=1)
  return jnp.take_along_axis(taken, columns[:, None, :, None], axis=2)
