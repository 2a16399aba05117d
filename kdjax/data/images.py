"""Decodes image files and resizes images; the only place that does.

Every dataset of files is read by these rules. The format is told by the
contents, not by the file name, and is one of `FORMATS`. Of several frames the
first is read. Levels of more than 8 bits are scaled by their depth (see
`kdjax.data.depth`). Images are upright: the orientation in their EXIF data is
applied. They are resized by bilinear interpolation with antialiasing,
torchvision's default for images of Pillow, which published accuracies on
ImageNet are measured with.
"""

import contextlib
import io
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from kdjax.data.depth import is_deep, to_gray
from kdjax.data.formats import FORMATS
from kdjax.messages import first_line

RESAMPLING = Image.Resampling.BILINEAR

# A whole image that is resized for a window of it has at most so many pixels;
# of a larger one only the window is computed.
_MAX_RESIZED = 1 << 26

Size = tuple[int, int]  # height and width
Box = tuple[int, int, int, int]  # left, top, right, bottom, in pixels

# Transposition to upright images, by EXIF orientation.
_TRANSPOSE = {
  2: Image.Transpose.FLIP_LEFT_RIGHT,
  3: Image.Transpose.ROTATE_180,
  4: Image.Transpose.FLIP_TOP_BOTTOM,
  5: Image.Transpose.TRANSPOSE,
  6: Image.Transpose.ROTATE_270,
  7: Image.Transpose.TRANSVERSE,
  8: Image.Transpose.ROTATE_90,
}
# Orientations in which an axis of the upright image runs against the stored
# axis that it comes from, and those that swap the axes.
_X_REVERSED, _Y_REVERSED = (2, 3, 6, 7), (3, 4, 7, 8)
_SWAPPED = (5, 6, 7, 8)


class EncodedImage:
  """One encoded image, of which only the header has been read.

  Its pixels can be decoded once.

  Attributes:
    name: Name of the file, for messages.
    mode: Pillow's mode of the stored image, such as `L` or `RGB`.
    size: Height and width of the upright image.

  Raises:
    ValueError: If it is not an image of one of `FORMATS`, or has more pixels
      than `PIL.Image.MAX_IMAGE_PIXELS`.
  """

  def __init__(self, content: bytes | BinaryIO, name: str):
    """Reads the header.

    Args:
      content: The encoded image, or a file of it that stays open.
      name: Name of the file, for messages.
    """
    self.name = name
    with self._decoding():
      file = io.BytesIO(content) if isinstance(content, bytes) else content
      self._image = Image.open(file, formats=FORMATS)
      width, height = self._image.size
      _check_pixels(width, height)
      self._orientation = _orientation(self._image)
    self.mode = self._image.mode
    swapped = self._orientation in _SWAPPED
    self.size: Size = (width, height) if swapped else (height, width)

  def decode(self, mode: str = 'RGB') -> Image.Image:
    """Decodes the whole image.

    Args:
      mode: Pillow's mode of the result, `RGB` or `L`.

    Returns:
      The upright image.

    Raises:
      ValueError: If it cannot be decoded; the message names the file.
    """
    with self._decoding():
      return self._decode(mode)

  def decode_resized(self, size: Size, mode: str = 'RGB') -> Image.Image:
    """Decodes the whole image, resized.

    Args:
      size: Height and width of the result.
      mode: Pillow's mode of the result, `RGB` or `L`.

    Raises:
      ValueError: If it cannot be decoded; the message names the file.
    """
    with self._decoding():
      return resize(self._decode(mode), size)

  def decode_window(self, resized: Size, box: Box) -> Image.Image:
    """Decodes a window of the resized image.

    Args:
      resized: Height and width that the whole image is resized to.
      box: The window, in pixels of the resized image.

    Returns:
      An RGB image of the size of `box`.

    Raises:
      ValueError: If it cannot be decoded; the message names the file.
    """
    with self._decoding():
      image = self._decode()
      if resized[0] * resized[1] <= _MAX_RESIZED:
        return resize(image, resized).crop(box)
      left, top, right, bottom = box
      x, y = image.width / resized[1], image.height / resized[0]
      # Rounding may reach over the edge.
      inside = (min(right * x, image.width), min(bottom * y, image.height))
      return image.resize(
        (right - left, bottom - top),
        RESAMPLING,
        box=(left * x, top * y, *inside),
      )

  def decode_box(
    self, box: Box, size: Size, *, draft: bool = False
  ) -> Image.Image:
    """Decodes a window of the image, resized.

    Args:
      box: The window, in pixels of the upright image.
      size: Height and width of the result.
      draft: Whether a JPEG may be decoded at a half, a quarter or an eighth of
        its size where the window is at least that many times as large as
        `size`; this is much faster and changes pixels a little.

    Returns:
      An RGB image of `size`.

    Raises:
      ValueError: If it cannot be decoded; the message names the file.
    """
    with self._decoding():
      reduced = self._reduce(box, size) if draft else None
      image = self._decode()
      if reduced is None:
        return resize(image.crop(box), size)
      height, width = size
      return image.resize((width, height), RESAMPLING, box=reduced)

  def _decode(self, mode: str = 'RGB') -> Image.Image:
    """Returns the whole upright image."""
    expected = self._image.size
    self._image.load()
    image = self._image
    if image.size != expected:
      raise ValueError(
        f'its header says {expected[0]}x{expected[1]} pixels, but it has '
        f'{image.width}x{image.height}'
      )
    if is_deep(image.mode):
      image = to_gray(image)
    if image.mode == 'P' and 'transparency' in image.info:
      image = image.convert('RGBA')  # else Pillow warns
    image = image if image.mode == mode else image.convert(mode)
    method = _TRANSPOSE.get(self._orientation)
    return image if method is None else image.transpose(method)

  def _reduce(
    self, box: Box, size: Size
  ) -> tuple[float, float, float, float] | None:
    """Sets the scale to decode at; the scaled box, or None at full scale."""
    left, top, right, bottom = box
    times = min((right - left) // size[1], (bottom - top) // size[0])
    if times < 2:
      return None
    width, height = self._image.size
    drafted = self._image.draft(None, (width // times, height // times))
    if drafted is None:  # not a JPEG
      return None
    scale = drafted[1][2] / width  # a half, a quarter or an eighth
    # The scaled image is rounded up to whole pixels at its stored right and
    # bottom, which are the left or top of some upright ones.
    x, y = self._margins(scale)
    left, right = left * scale + x, right * scale + x
    return left, top * scale + y, right, bottom * scale + y

  def _margins(self, scale: float) -> tuple[float, float]:
    """Fractions of a pixel by which a scaled upright image begins early."""
    width, height = self._image.size  # scaled and rounded up
    if self._orientation in _SWAPPED:
      width, height = height, width
    x = (width - self.size[1] * scale) * (self._orientation in _X_REVERSED)
    y = (height - self.size[0] * scale) * (self._orientation in _Y_REVERSED)
    return x, y

  @contextlib.contextmanager
  def _decoding(self) -> Iterator[None]:
    """Converts exceptions of decoders to errors with the file name."""
    try:
      yield
    except UnidentifiedImageError:
      reason = f'it is not an image in one of the formats {", ".join(FORMATS)}'
      raise ValueError(f'cannot decode {self.name}: {reason}') from None
    except Exception as error:  # damaged files raise nearly any kind
      raise ValueError(
        f'cannot decode {self.name}: {first_line(error)}'
      ) from None


def _check_pixels(width: int, height: int) -> None:
  """Raises a `ValueError` about an image that would fill the memory."""
  largest = Image.MAX_IMAGE_PIXELS
  if width < 1 or height < 1:
    raise ValueError(f'it has {width}x{height} pixels')
  if largest is not None and width * height > largest:
    raise ValueError(
      f'it has {width}x{height} pixels, more than {largest:,} (possible '
      'decompression bomb); store it smaller'
    )


def _orientation(image: Image.Image) -> int:
  """Returns the EXIF orientation of an opened image; 1 (upright) if unset."""
  if image.format == 'TIFF':
    return 1  # Pillow applies it, and swaps the size accordingly
  if image.format == 'PNG':
    image.load()  # EXIF data may follow the pixels
  try:
    value = image.getexif().get(ExifTags.Base.Orientation, 1)
  except Exception:  # damaged EXIF data, which say nothing about the pixels
    return 1
  return value if isinstance(value, int) else 1


def resize(image: Image.Image, size: Size) -> Image.Image:
  """Returns an image resized to `size`, or itself if it has that size.

  Bilinear interpolation with antialiasing: each new pixel averages all pixels
  that it covers.

  Args:
    image: Image of mode `L` or `RGB`.
    size: Height and width of the result.
  """
  height, width = size
  if image.size == (width, height):
    return image
  return image.resize((width, height), RESAMPLING)


def resize_all(images: np.ndarray, size: Size) -> np.ndarray:
  """Returns images resized to `size` by the rule of `resize`.

  Args:
    images: uint8 `[N, H, W, C]`, C being 1 or 3.
    size: Height and width of the result.

  Returns:
    uint8 `[N, height, width, C]`.
  """
  gray = images.shape[-1] == 1
  resized = [
    np.asarray(resize(Image.fromarray(image[..., 0] if gray else image), size))
    for image in images
  ]
  return np.stack(resized)[..., None] if gray else np.stack(resized)
