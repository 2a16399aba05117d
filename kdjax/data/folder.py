"""Folders of images, one folder per class."""

import collections
import concurrent.futures
import pathlib
import warnings
from collections.abc import Sequence

import numpy as np

from kdjax.data.arrays import from_arrays
from kdjax.data.dataset import Dataset
from kdjax.data.files import (
  Files,
  ImageFiles,
  LabeledFiles,
  open_image,
  open_regular,
)
from kdjax.data.images import EXTENSIONS, EncodedImage, Size, resize


def read_folder(
  name: str, path: pathlib.Path, size: Size | None = None
) -> Dataset:
  """Reads images into memory, as `list_folder` finds them.

  Images become RGB (gray if all are gray), and are decoded and resized by the
  rules of `kdjax.data.images`.

  Args:
    name: Name of the dataset, also for messages.
    path: Folder that holds `train`.
    size: Height and width that images are resized to (default: their own; if
      they differ, the most frequent size of the training images, with a
      warning).

  Returns:
    The dataset; see `from_arrays` for its statistics and augmentation.

  Raises:
    ValueError: If a split is missing or empty, a test class is not among the
      training classes, or a file cannot be decoded.
  """
  train, test = list_folder(name, path)
  try:
    size, mode = _common_form(name, (train.files, test.files), size)
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


def list_folder(
  name: str, path: pathlib.Path
) -> tuple[LabeledFiles, LabeledFiles]:
  """Lists the images of `PATH/train/CLASS/` and of `PATH/test/CLASS/`.

  `PATH/val/CLASS/` is the test split if there is no `test`, or if `test` has no
  class folders, as that of ImageNet, whose test labels are secret.

  Args:
    name: Name of the dataset, for messages.
    path: Folder that holds `train`.

  Returns:
    Training and test images. Classes are the folders of `train`, sorted by
    name; the images of a class are sorted by name.

  Raises:
    ValueError: If a split is missing or empty, or a test class is not among the
      training classes.
  """
  test_dir, val_dir = path / 'test', path / 'val'
  if not test_dir.is_dir() or (
    val_dir.is_dir() and not _class_folders(test_dir)
  ):
    test_dir = val_dir
  train = _images_by_class(name, path / 'train')
  test = _images_by_class(name, test_dir)
  if unknown := sorted(test.keys() - train.keys()):
    raise ValueError(
      f'{name}: {test_dir} has classes that {path / "train"} does not have: '
      f'{", ".join(unknown)}.'
    )
  classes = tuple(train)
  return _labeled_files(train, classes), _labeled_files(test, classes)


def _class_folders(folder: pathlib.Path) -> list[pathlib.Path]:
  return sorted(d for d in folder.iterdir() if d.is_dir() and d.name[0] != '.')


def _images_by_class(
  name: str, folder: pathlib.Path
) -> dict[str, list[pathlib.Path]]:
  if not folder.is_dir():
    raise ValueError(
      f'{name}: there is no folder {folder}. Expected train/CLASS/ and '
      'test/CLASS/ (or val/CLASS/), with the images of each class.'
    )
  images = {}
  for class_folder in _class_folders(folder):
    images[class_folder.name] = sorted(
      p for p in class_folder.iterdir() if p.suffix.lower() in EXTENSIONS
    )
  if empty := [label for label, paths in images.items() if not paths]:
    raise ValueError(
      f'{name}: no images ({", ".join(EXTENSIONS)}) of class '
      f'{", ".join(empty)} in {folder}.'
    )
  if not images:
    raise ValueError(f'{name}: {folder} has no class folders.')
  return images


def _labeled_files(
  images: dict[str, list[pathlib.Path]], classes: tuple[str, ...]
) -> LabeledFiles:
  index = {label: i for i, label in enumerate(classes)}
  labels = [index[label] for label, paths in images.items() for _ in paths]
  files = ImageFiles.from_paths(p for paths in images.values() for p in paths)
  return LabeledFiles(files, np.array(labels, np.int32), classes)


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
  mode = 'L' if modes <= {'1', 'L'} else 'RGB'
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
    return np.asarray(resize(open_image(files, index).decode(mode), size))

  with concurrent.futures.ThreadPoolExecutor() as pool:
    return np.stack(list(pool.map(decode, range(len(files)))))
