"""Lists the image files of a folder dataset, without reading them."""

import contextlib
import os
import pathlib
import warnings
from collections.abc import Iterator

import numpy as np

from kdjax.data.files import ImageFiles, LabeledFiles
from kdjax.data.formats import EXTENSIONS
from kdjax.messages import first_few

# Names of the folder of test images, the first one that has class folders.
_TEST = ('test', 'val', 'valid', 'validation')

_Images = dict[str, list[pathlib.Path]]  # by class


def list_folder(
  name: str, path: pathlib.Path
) -> tuple[LabeledFiles, LabeledFiles]:
  """Lists the images of `PATH/train/CLASS/` and of `PATH/test/CLASS/`.

  `val`, `valid` or `validation` is the test split if there is no `test`, or if
  `test` has no class folders, as that of ImageNet, whose test labels are
  secret. Hidden files, whose name begins with a dot, are ignored; a warning
  names the first other files that are no images by their extension.

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
  left_out: list[pathlib.Path] = []
  with _named(name):
    test_dir = _test_folder(path)
    train = _images_by_class(path / 'train', left_out)
    test = _images_by_class(test_dir, left_out)
    _check_classes(path / 'train', train, test_dir, test)
    if left_out:
      warnings.warn(_said_of(name, path, left_out), stacklevel=4)
    classes = tuple(train)
    return _labeled_files(train, classes), _labeled_files(test, classes)


@contextlib.contextmanager
def _named(name: str) -> Iterator[None]:
  """Names the dataset in errors."""
  try:
    yield
  except (OSError, ValueError) as error:
    raise ValueError(f'{name}: {error}') from None


def _test_folder(path: pathlib.Path) -> pathlib.Path:
  folders = [path / each for each in _TEST if (path / each).is_dir()]
  with_classes = [folder for folder in folders if _class_folders(folder)]
  return next(iter(with_classes or folders), path / _TEST[0])


def _class_folders(folder: pathlib.Path) -> list[pathlib.Path]:
  return sorted(d for d in folder.iterdir() if d.is_dir() and not _is_hidden(d))


def _images_by_class(
  folder: pathlib.Path, left_out: list[pathlib.Path]
) -> _Images:
  """Returns images by class; appends the other files to `left_out`."""
  if not folder.is_dir():
    raise ValueError(
      f'there is no folder {folder}. Expected train/CLASS/ and test/CLASS/ (or '
      f'{", ".join(_TEST[1:])}), with the images of each class.'
    )
  images: _Images = {}
  others: _Images = {}
  for class_folder in _class_folders(folder):
    visible = [p for p in class_folder.iterdir() if not _is_hidden(p)]
    chosen = [p for p in visible if _is_image(p)]
    images[class_folder.name] = sorted(chosen)
    others[class_folder.name] = sorted(set(visible) - set(chosen))
  if not images:
    raise ValueError(f'{folder} has no class folders.')
  if empty := [label for label, paths in images.items() if not paths]:
    raise ValueError(_said_of_empty(folder, empty, others))
  left_out += [path for paths in others.values() for path in paths]
  return images


def _is_image(path: pathlib.Path) -> bool:
  return path.suffix.lower() in EXTENSIONS and not _is_hidden(path)


def _is_hidden(path: pathlib.Path) -> bool:
  return path.name.startswith('.')


def _check_classes(
  train_dir: pathlib.Path, train: _Images, test_dir: pathlib.Path, test: _Images
) -> None:
  unknown, untested = sorted(test.keys() - train.keys()), train.keys() - test
  if unknown:
    raise ValueError(
      f'{test_dir} has {len(unknown):,} classes that {train_dir} does not '
      f'have: {first_few(unknown)} ({len(train):,} classes in {train_dir}, '
      f'{len(test):,} in {test_dir}, {len(train) - len(untested):,} in both).'
    )


def _said_of_empty(
  folder: pathlib.Path, empty: list[str], others: _Images
) -> str:
  """Returns the message on classes without images."""
  nested = {
    path: count
    for label in empty
    for path in others[label]
    if path.is_dir() and (count := sum(map(_is_image, path.iterdir())))
  }
  if nested:
    inner, count = next(iter(nested.items()))
    return (
      f'the images of {len(empty):,} classes are one folder too deep: {inner} '
      f'holds {count:,}. Expected them in {inner.parent}.'
    )
  files = [path.name for label in empty for path in others[label]]
  held = f' They hold {first_few(files)}.' if files else ''
  return (
    f'no images ({", ".join(EXTENSIONS)}) of class {first_few(empty)} in '
    f'{folder}.{held}'
  )


def _said_of(
  name: str, path: pathlib.Path, left_out: list[pathlib.Path]
) -> str:
  """Returns the message on files that are left out."""
  files = [os.path.relpath(each, path) for each in left_out]
  return (
    f'{name}: {len(files):,} files in class folders are left out, because they '
    f'are no images by their extension: {first_few(files)}. Images are '
    f'{", ".join(EXTENSIONS)}.'
  )


def _labeled_files(images: _Images, classes: tuple[str, ...]) -> LabeledFiles:
  index = {label: i for i, label in enumerate(classes)}
  labels = [index[label] for label, paths in images.items() for _ in paths]
  files = ImageFiles.from_paths(p for paths in images.values() for p in paths)
  return LabeledFiles(files, np.array(labels, np.int32), classes)
