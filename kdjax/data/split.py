"""Labeled images in memory."""

import dataclasses

import numpy as np

from kdjax.data.labels import check_labels
from kdjax.typing import PyTree

_ALIGNMENT = 64  # bytes


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
  """Images and their labels, row by row.

  Attributes:
    images: uint8 `[N, H, W, C]`, with C of 1 or 3. Images that do not begin at
      a multiple of 64 bytes are copied to such an address, so that all devices
      of a CPU and all programs share one copy; images that do begin there are
      kept without a copy and must not be modified afterwards.
    labels: An array `[N]` or `[N, K]`, or a nested dict of arrays with N rows
      each, such as `{'boxes': [N, M, 4], 'classes': [N, M]}`.

  Raises:
    ValueError: If the images have another shape or dtype, if there are no
      images, or if an array of the labels does not have one row per image.
  """

  images: np.ndarray
  labels: PyTree

  def __post_init__(self):
    images = self.images
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
      raise ValueError(
        'images must be [N, height, width, channels] with 1 or 3 channels, '
        f'got shape {images.shape}.'
      )
    if images.dtype != np.uint8:
      raise ValueError(
        'images must be uint8 in [0, 255], got '
        f'{images.dtype}; scale and convert them first.'
      )
    check_labels(self.labels, len(images))
    if not images.size:
      raise ValueError(f'there are no images: shape {images.shape}.')
    object.__setattr__(self, 'images', aligned(images))

  def __len__(self) -> int:
    return len(self.images)

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """Height, width and channels of one image."""
    return self.images.shape[1:]


def aligned(array: np.ndarray) -> np.ndarray:
  """Returns the array at an address that XLA's CPU client uses without a copy.

  Args:
    array: Any array; see `Split` for the condition.

  Returns:
    The same array, or a copy that begins at a multiple of 64 bytes.
  """
  if array.flags.c_contiguous and array.ctypes.data % _ALIGNMENT == 0:
    return array
  buffer = np.empty(array.nbytes + _ALIGNMENT, np.uint8)
  start = -buffer.ctypes.data % _ALIGNMENT
  copy = buffer[start : start + array.nbytes].view(array.dtype)
  copy = copy.reshape(array.shape)
  copy[...] = array
  return copy
