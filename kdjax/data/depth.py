"""Images of one channel with more than 8 bits, scaled to 8 bits by their depth.

Pillow's own conversion cuts every level above 255. (Color images of 16 bits it
reads by the upper byte of each level, which is at most one level less.)
"""

import numpy as np
from PIL import Image

_BITS, _INVERTED, _SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF
_UNSIGNED = 1
_LARGEST = 0xFFFF  # white in formats that Pillow reads as 16 bits


def is_deep(mode: str) -> bool:
  """Returns whether a mode of Pillow has one channel of more than 8 bits."""
  return mode == 'F' or mode.startswith('I')


def to_gray(image: Image.Image) -> Image.Image:
  """Returns a loaded deep image in gray levels of 8 bits, mode `L`.

  A level `v` of an image of `n` bits becomes `255 v / (2**n - 1)`, rounded: for
  16 bits `v / 257`. A floating-point level `v` becomes `255 v`, rounded.

  Args:
    image: An image as a file's decoder returned it, with its `format`.

  Raises:
    ValueError: If the image has no defined white: signed integers, integers of
      more than 16 bits, and floating-point numbers outside of [0, 1].
  """
  tags = getattr(image, 'tag_v2', {})
  pixels = np.asarray(image)
  if image.mode == 'F':
    levels = _from_floats(pixels)
  else:
    largest = _largest(image, tags)
    if pixels.min() < 0 or pixels.max() > largest:
      raise ValueError(
        f'its levels are {pixels.min()} to {pixels.max()}, but its depth '
        f'allows 0 to {largest}'
      )
    levels = (pixels.astype(np.uint32) * 255 + largest // 2) // largest
  gray = levels.astype(np.uint8)
  if tags.get(_INVERTED) == 0:  # white is zero, which Pillow minds at 8 bits
    gray = 255 - gray
  return Image.fromarray(gray)


def _from_floats(pixels: np.ndarray) -> np.ndarray:
  low, high = pixels.min(), pixels.max()
  if not (low >= 0 and high <= 1):
    raise ValueError(
      f'its pixels are floating-point numbers from {low:g} to {high:g}; '
      'expected [0, 1], or save it with 8 or 16 bits'
    )
  return np.round(pixels.astype(np.float64) * 255)


def _largest(image: Image.Image, tags: dict) -> int:
  """Returns the level of white."""
  if image.format != 'TIFF':
    return _LARGEST
  bits = tags.get(_BITS, (16,))[0]
  signed = tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))[0] != _UNSIGNED
  if signed or bits > 16:
    kind = 'signed' if signed else 'unsigned'
    raise ValueError(
      f'its pixels are {kind} integers of {bits} bits, which have no defined '
      'white; save it with 8 or 16 bits, unsigned'
    )
  return 2**bits - 1
