"""Folders of images, one folder per class."""

import collections
import concurrent.futures
import pathlib
import warnings
from collections.abc import Sequence

import numpy as np

from kdjax.data.arrays import from_arrays
from kdjax.data.channels import MODES, Channels
from kdjax.data.dataset import Dataset
from kdjax.data.depth import is_deep
from kdjax.data.files import Files, open_image, open_regular
from kdjax.data.images import EncodedImage, Size
from kdjax.data.listing import list_folder
from kdjax.runtime.memory import check_fits

_GRAY = ('1', 'L')  # Pillow's modes of at most 8 bits


def read_folder(
  name: str,
  path: pathlib.Path,
  size: Size | None = None,
  channels: Channels | None = None,
) -> Dataset:
  """Reads images into memory, as `list_folder` finds them.

  Images are decoded and resized by the rules of `kdjax.data.images`.

  Args:
    name: Name of the dataset, also for messages.
    path: Folder that holds `train`.
    size: Height and width that images are resized to (default: their own; if
      they differ, the most frequent size of the training images, with a
      warning).
    channels: `rgb` or `gray` (default: `gray` if all images are gray, otherwise
      `rgb`).

  Returns:
    The dataset; see `from_arrays` for its statistics and augmentation.

  Raises:
    ValueError: If a split is missing or empty, a test class is not among the
      training classes, a file cannot be decoded, or the images do not fit into
      memory.
  """
  train, test = list_folder(name, path)
  try:
    size, mode = _common_form(name, (train.files, test.files), size)
    mode = mode if channels is None else MODES[channels]
    _check_memory(len(train) + len(test), size, mode)
    images = [_decode_all(each.files, size, mode) for each in (train, test)]
  except ValueError as error:
    raise ValueError(f'{name}: {error}') from None
  return from_arrays(
    name,
    images[0],
    train.labels,
    images[1],
    test.labels,
    class_names=train.class_names,
  )


def _common_form(
  name: str, splits: Sequence[Files], size: Size | None
) -> tuple[Size, str]:
  """Returns size and Pillow mode of all images; see `read_folder`."""
  train_sizes: collections.Counter[Size] = collections.Counter()
  modes = set()
  for split in splits:
    for index in range(len(split)):
      image = _read_header(split.name(index))  # the path
      train_sizes[image.size] += split is splits[0]
      modes.add(image.mode)
  gray = all(mode in _GRAY or is_deep(mode) for mode in modes)
  mode = MODES['gray' if gray else 'rgb']
  if size is not None:
    return size, mode
  size = max(train_sizes, key=lambda s: (train_sizes[s], *reversed(s)))
  if len(train_sizes) > 1:
    warnings.warn(
      f'{name}: images of {len(train_sizes)} sizes; all are resized to the '
      f'most frequent, {size[1]}x{size[0]}.',
      stacklevel=4,
    )
  return size, mode


def _check_memory(count: int, size: Size, mode: str) -> None:
  height, width = size
  check_fits(
    count * height * width * len(mode),
    f'{count:,} images of {width}x{height} pixels',
    '. Resize them, or stream them by experiments.imagenet',
  )


def _read_header(path: str) -> EncodedImage:
  """The image of which only the header is read; it cannot be decoded."""
  try:
    with open_regular(path) as file:
      return EncodedImage(file, path)
  except OSError as error:
    raise ValueError(f'cannot read {path}: {error}') from None


def _decode_all(files: Files, size: Size, mode: str) -> np.ndarray:
  """Returns uint8 `[N, H, W]` (mode `L`) or `[N, H, W, 3]`."""

  def decode(index: int) -> np.ndarray:
    return np.asarray(open_image(files, index).decode_resized(size, mode))

  with concurrent.futures.ThreadPoolExecutor() as pool:
    return np.stack(list(pool.map(decode, range(len(files)))))
