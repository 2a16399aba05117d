"""Datasets in .npz files of NumPy."""

import pathlib
import zipfile

import numpy as np

from kdjax.data.arrays import from_arrays
from kdjax.data.dataset import Dataset
from kdjax.data.split import aligned

# Names of images and labels, training and test; any of these is accepted.
_NAMES = (
  ('x_train', 'y_train', 'x_test', 'y_test'),
  ('train_images', 'train_labels', 'test_images', 'test_labels'),
)


def read_npz(name: str, path: pathlib.Path) -> Dataset:
  """Reads the arrays `x_train`, `y_train`, `x_test` and `y_test` of a file.

  They may also be called `train_images`, `train_labels`, `test_images` and
  `test_labels`. An optional array `class_names` names the classes.

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
  arrays = _read_arrays(name, path)
  names = next((n for n in _NAMES if set(n) <= arrays.keys()), None)
  if names is None:
    raise ValueError(
      f'{name}: {path} must contain {", ".join(_NAMES[0])} (or '
      f'{", ".join(_NAMES[1])}), got {", ".join(arrays) or "nothing"}.'
    )
  classes = tuple(map(str, arrays.get('class_names', ())))
  return from_arrays(name, *(arrays[n] for n in names), class_names=classes)


def _read_arrays(name: str, path: pathlib.Path) -> dict[str, np.ndarray]:
  try:
    with path.open('rb') as file:
      # Pickled objects could run code, so they are refused.
      stored = np.load(file, allow_pickle=False)
      names = getattr(stored, 'files', ())
      # One after the other, so that no two arrays are in memory twice.
      return {name: aligned(stored[name]) for name in names}
  except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
    raise ValueError(f'{name}: cannot read {path}: {error}') from None
