"""Views: pixels of one size from images of any size, on the host.

A view decides which part of each image a streamed dataset shows; decoding and
resizing follow the rules of `kdjax.data.images`.
"""

import dataclasses
import math
from typing import Protocol

import numpy as np

from kdjax.data.images import Box, EncodedImage, Size

_ATTEMPTS = 10  # random windows, before the largest one in the middle


class View(Protocol):
  """Pixels of one size from an encoded image; pickled for worker processes."""

  @property
  def size(self) -> Size:
    """Height and width of the result."""
    ...

  def __call__(
    self, image: EncodedImage, random: np.random.Generator
  ) -> np.ndarray:
    """Decodes the image.

    Args:
      image: The encoded image.
      random: The only source of randomness.

    Returns:
      uint8 `[height, width, 3]`.

    Raises:
      ValueError: If the image cannot be decoded.
    """
    ...


@dataclasses.dataclass(frozen=True)
class Whole:
  """The whole image, resized without keeping its aspect ratio.

  Attributes:
    size: Height and width of the result.

  Raises:
    ValueError: If the size is not positive.
  """

  size: Size

  def __post_init__(self):
    _check_size(self.size)

  def __call__(
    self, image: EncodedImage, random: np.random.Generator
  ) -> np.ndarray:
    """Returns the pixels; `random` is not used. See `View`."""
    del random
    return np.asarray(image.decode_resized(self.size))


@dataclasses.dataclass(frozen=True)
class CenterCrop:
  """The middle of the image, after its shorter side is resized.

  torchvision's `Resize(shorter)` and `CenterCrop(size)`, pixel by pixel: what
  published accuracies on ImageNet are measured with, 224 of 256.

  Attributes:
    size: Height and width of the window.
    shorter: Length that the shorter side is resized to before.

  Raises:
    ValueError: If the size is not positive, or larger than `shorter`.
  """

  size: Size
  shorter: int

  def __post_init__(self):
    _check_size(self.size)
    if self.shorter < max(self.size):
      raise ValueError(
        f'a window of {self.size} does not fit into images whose shorter side '
        f'is {self.shorter}.'
      )

  def __call__(
    self, image: EncodedImage, random: np.random.Generator
  ) -> np.ndarray:
    """Returns the pixels; `random` is not used. See `View`."""
    del random
    height, width = image.size
    # The longer side is truncated to an integer, as in torchvision.
    longer = int(self.shorter * max(width, height) / min(width, height))
    resized = (longer, self.shorter)
    if width >= height:
      resized = (self.shorter, longer)
    top, left = (round((a - b) / 2) for a, b in zip(resized, self.size))
    box = (left, top, left + self.size[1], top + self.size[0])
    return np.asarray(image.decode_window(resized, box))


@dataclasses.dataclass(frozen=True)
class RandomResizedCrop:
  r"""A random window of random area and aspect ratio, resized.

  The area of the window is a fraction of the image's, uniform in `scale`; the
  logarithm of its aspect ratio (width over height) is uniform between those of
  `ratio`; its position is uniform. If none of ten such windows fits, the window
  is the largest one in the middle with an aspect ratio in `ratio`. This is
  torchvision's `RandomResizedCrop`.

  Attributes:
    size: Height and width of the result.
    scale: Smallest and largest fraction of the area.
    ratio: Smallest and largest aspect ratio.
    draft: Whether a JPEG is decoded at a half, a quarter or an eighth of its
      size where both sides of the window are at least that many times as long
      as those of the result; much faster, with slightly different pixels.

  Raises:
    ValueError: If the size is not positive, or a range is empty or not
      positive.
  """

  size: Size
  scale: tuple[float, float] = (0.08, 1.0)
  ratio: tuple[float, float] = (3 / 4, 4 / 3)
  draft: bool = True

  def __post_init__(self):
    _check_size(self.size)
    for name in ('scale', 'ratio'):
      low, high = getattr(self, name)
      if not 0 < low <= high < math.inf:
        raise ValueError(
          f'{name} must be two positive numbers, the smaller one first, got '
          f'{(low, high)}.'
        )

  def __call__(
    self, image: EncodedImage, random: np.random.Generator
  ) -> np.ndarray:
    """Returns the pixels of one random window. See `View`."""
    height, width = image.size
    box = self._random_box(width, height, random)
    return np.asarray(image.decode_box(box, self.size, draft=self.draft))

  def _random_box(
    self, width: int, height: int, random: np.random.Generator
  ) -> Box:
    low, high = np.log(self.ratio)
    for _ in range(_ATTEMPTS):
      area = width * height * random.uniform(*self.scale)
      ratio = math.exp(random.uniform(low, high))
      across = round(math.sqrt(area * ratio))
      down = round(math.sqrt(area / ratio))
      if 0 < across <= width and 0 < down <= height:
        left = int(random.integers(width - across + 1))
        top = int(random.integers(height - down + 1))
        return left, top, left + across, top + down
    return self._largest_box(width, height)

  def _largest_box(self, width: int, height: int) -> Box:
    """Returns the largest central window with an allowed aspect ratio."""
    ratio = min(max(width / height, self.ratio[0]), self.ratio[1])
    across = max(1, min(width, round(height * ratio)))
    down = max(1, min(height, round(width / ratio)))
    left, top = (width - across) // 2, (height - down) // 2
    return left, top, left + across, top + down


def _check_size(size: Size) -> None:
  if min(size) < 1:
    raise ValueError(f'image size must be at least 1, got {size}.')
