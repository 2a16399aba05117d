"""Datasets in .npz files of NumPy."""

import pathlib
from typing import BinaryIO

import numpy as np

from kdjax.data.arrays import from_arrays
from kdjax.data.dataset import Dataset
from kdjax.data.files import open_regular
from kdjax.data.split import aligned
from kdjax.messages import first_few
from kdjax.runtime import npz

# Names of images and labels, training and test; any of these is accepted.
_NAMES = (
  ('x_train', 'y_train', 'x_test', 'y_test'),
  ('train_images', 'train_labels', 'test_images', 'test_labels'),
)
_CLASSES = 'class_names'
_NPY, _ZIP = b'\x93NUMPY', b'PK'  # first bytes of files


def read_npz(name: str, path: pathlib.Path) -> Dataset:
  """Reads the arrays `x_train`, `y_train`, `x_test` and `y_test` of a file.

  They may also be called `train_images`, `train_labels`, `test_images` and
  `test_labels`. An optional array `class_names` names the classes. Other arrays
  are not read.

  Args:
    name: Name of the dataset, also for messages.
    path: The file.

  Returns:
    The dataset; see `from_arrays` for the arrays, its statistics and its
    augmentation.

  Raises:
    ValueError: If the file cannot be read, or an array is missing or has
      another shape or dtype.
  """
  try:
    with open_regular(path) as file:
      arrays = _read_arrays(file)
      classes = _class_names(arrays.pop(_CLASSES, None))
  except (OSError, ValueError) as error:
    raise ValueError(f'{name}: cannot read {path}: {error}') from None
  return from_arrays(name, *arrays.values(), class_names=classes)


def _read_arrays(file: BinaryIO) -> dict[str, np.ndarray]:
  """Reads images and labels in the order of `_NAMES`, and `class_names`."""
  start = file.read(len(_NPY))
  if start == _NPY:
    raise ValueError(
      'it is a single .npy array; expected an .npz file, which names its arrays'
    )
  if not start.startswith(_ZIP):
    raise ValueError('it is not an .npz file')
  with npz.open_archive(file) as archive:
    stored = npz.array_names(archive)
    names = next((n for n in _NAMES if set(n) <= set(stored)), None)
    if names is None:
      raise ValueError(
        f'it must contain {", ".join(_NAMES[0])} (or {", ".join(_NAMES[1])}), '
        f'got {first_few(stored, 8) or "nothing"}'
      )
    if _CLASSES in stored:
      names = (*names, _CLASSES)
    # One after the other, so that no two arrays are in memory twice.
    return {n: aligned(npz.read_array(archive, n)) for n in names}


def _class_names(names: np.ndarray | None) -> tuple[str, ...]:
  """Returns names of the classes, which may be numbers; empty if unset."""
  if names is None:
    return ()
  if names.ndim != 1 or not names.size or names.dtype.kind not in 'Uiu':
    raise ValueError(
      f'{_CLASSES} must be an array of text with one name per class, got '
      f'{names.dtype} of shape {names.shape}'
    )
  return tuple(map(str, names))
