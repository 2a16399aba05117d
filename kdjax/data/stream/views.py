"""From an encoded image to pixels of one size, on the host.

A view is what a streamed set shows of each image. Whatever a file holds becomes
RGB, and is not turned as its EXIF data say, as for published networks.
"""

import dataclasses
import io
import math
from typing import Protocol

import numpy as np
from PIL import Image

from kdjax.data.resize import Size, resize

_TRIES = 10  # of a random crop, before the largest one in the middle
Box = tuple[int, int, int, int]  # left, top, right, bottom


class View(Protocol):
  """A file's contents to uint8 pixels; pickled for the worker processes."""

  @property
  def size(self) -> Size:
    """Height and width of what it makes."""
    ...

  def __call__(self, content: bytes, random: np.random.Generator) -> np.ndarray:
    """uint8 `[height, width, 3]`; an `OSError` or the like if it is no image.

    What is drawn comes from `random` alone.
    """
    ...


@dataclasses.dataclass(frozen=True)
class Whole:
  """All of the image; its proportions are not kept.

  Attributes:
    size: Height and width that it is brought to.
  """

  size: Size

  def __post_init__(self):
    _check(self.size)

  def __call__(self, content: bytes, random: np.random.Generator) -> np.ndarray:
    """One image; nothing is drawn."""
    del random
    with Image.open(io.BytesIO(content)) as image:
      return np.asarray(resize(image.convert('RGB'), self.size))


@dataclasses.dataclass(frozen=True)
class CenterCrop:
  """The middle of the image, its shorter side brought to a length before.

  torchvision's `Resize(shorter)` and `CenterCrop(size)`, pixel by pixel: what
  published accuracies on ImageNet are measured on, with 224 of 256.

  Attributes:
    size: Height and width of the window.
    shorter: Length of the shorter side before.

  Raises:
    ValueError: If the window is larger than that.
  """

  size: Size
  shorter: int

  def __post_init__(self):
    _check(self.size)
    if self.shorter < max(self.size):
      raise ValueError(
        f'a window of {self.size} does not fit into images whose shorter side '
        f'is {self.shorter}.'
      )

  def __call__(self, content: bytes, random: np.random.Generator) -> np.ndarray:
    """One image; nothing is drawn."""
    del random
    with Image.open(io.BytesIO(content)) as stored:
      image = stored.convert('RGB')
    width, height = image.size
    least = min(width, height)
    # The longer side is cut to an integer, as torchvision does.
    longer = int(self.shorter * max(width, height) / least)
    ratio = (longer, self.shorter) if height > width else (self.shorter, longer)
    image = resize(image, ratio)
    top, left = (round((a - b) / 2) for a, b in zip(ratio, self.size))
    box = (left, top, left + self.size[1], top + self.size[0])
    return np.asarray(image.crop(box))


@dataclasses.dataclass(frozen=True)
class RandomResizedCrop:
  r"""A random window of random size and proportions, brought to one size.

  The window has a share of the image's area that is uniform in `scale`, and
  proportions (width over height) whose logarithm is uniform in `ratio`'s; its
  place is uniform. If none of ten such windows fits, it is the largest one in
  the middle with proportions in `ratio`: torchvision's `RandomResizedCrop`.

  A JPEG of which both sides of the window are at least twice, four or eight
  times as long as what becomes of them is decoded at that part of its size,
  which is much faster and differs a little in its pixels (`draft`).

  Attributes:
    size: Height and width of what it makes.
    scale: Least and largest share of the area.
    ratio: Least and largest proportions.
    draft: Whether large windows are decoded smaller.

  Raises:
    ValueError: If a range is empty or not positive.
  """

  size: Size
  scale: tuple[float, float] = (0.08, 1.0)
  ratio: tuple[float, float] = (3 / 4, 4 / 3)
  draft: bool = True

  def __post_init__(self):
    _check(self.size)
    for name in ('scale', 'ratio'):
      low, high = getattr(self, name)
      if not 0 < low <= high < math.inf:
        raise ValueError(
          f'{name} must be two positive numbers, the smaller one first, got '
          f'{(low, high)}.'
        )

  def __call__(self, content: bytes, random: np.random.Generator) -> np.ndarray:
    """One random view of an image."""
    with Image.open(io.BytesIO(content)) as stored:
      box = self._draw(*stored.size, random)
      reduced = self._reduce(stored, box) if self.draft else None
      image = stored.convert('RGB')
    if reduced is None:
      return np.asarray(resize(image.crop(box), self.size))
    down, across = self.size
    return np.asarray(
      image.resize((across, down), Image.Resampling.BILINEAR, box=reduced)
    )

  def _draw(self, width: int, height: int, random: np.random.Generator) -> Box:
    """A window of an image, by its pixels."""
    low, high = np.log(self.ratio)
    for _ in range(_TRIES):
      area = width * height * random.uniform(*self.scale)
      ratio = math.exp(random.uniform(low, high))
      across = round(math.sqrt(area * ratio))
      down = round(math.sqrt(area / ratio))
      if 0 < across <= width and 0 < down <= height:
        left = int(random.integers(width - across + 1))
        top = int(random.integers(height - down + 1))
        return left, top, left + across, top + down
    # The nearest proportions that are allowed.
    ratio = min(max(width / height, self.ratio[0]), self.ratio[1])
    across = max(1, min(width, round(height * ratio)))
    down = max(1, min(height, round(width / ratio)))
    left, top = (width - across) // 2, (height - down) // 2
    return left, top, left + across, top + down

  def _reduce(
    self, image: Image.Image, box: Box
  ) -> tuple[float, float, float, float] | None:
    """Lets a JPEG be decoded smaller; the window in what it then is."""
    left, top, right, bottom = box
    down, across = self.size
    times = min((right - left) // across, (bottom - top) // down)
    width, height = image.size
    if times < 2:
      return None
    drafted = image.draft(None, (width // times, height // times))
    if drafted is None:  # not a JPEG
      return None
    part = drafted[1][2] / width  # one half, a quarter or an eighth
    return left * part, top * part, right * part, bottom * part


def _check(size: Size) -> None:
  if min(size) < 1:
    raise ValueError(f'images need a size of at least 1, got {size}.')
