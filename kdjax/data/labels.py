"""Labels of a split: an array, or a nested dict of arrays, by image."""

import jax
import numpy as np

from kdjax.messages import printable
from kdjax.typing import PyTree


def check_labels(labels: PyTree, count: int) -> None:
  """Checks that every array of the labels has one row per image.

  Args:
    labels: An array `[N, ...]` or a nested dict of such arrays.
    count: Number of images N.

  Raises:
    ValueError: If a leaf is not an array or has another number of rows.
  """
  for name, array in named_arrays(labels):
    where = f' in {name}' if name else ''
    if not isinstance(array, np.ndarray) or not array.ndim:
      raise ValueError(
        f'labels{where} must be a NumPy array with one row per image, got '
        f'{type(array).__name__} {array!r:.60}.'
      )
    if len(array) != count:
      raise ValueError(f'{count} images but {len(array)} labels{where}.')


def take_rows(labels: PyTree, rows: np.ndarray) -> PyTree:
  """Returns the given rows of every array of the labels.

  Args:
    labels: An array `[N, ...]` or a nested dict of such arrays.
    rows: Integer `[R]`, indices of images.

  Returns:
    The same tree with arrays `[R, ...]`.
  """
  return jax.tree.map(lambda array: array[rows], labels)


def named_arrays(labels: PyTree) -> list[tuple[str, np.ndarray]]:
  """Returns the arrays of the labels, each with its path in the tree.

  Args:
    labels: An array or a nested dict of arrays.

  Returns:
    Pairs of path and array, sorted by path; the path of an array that is no
    tree is empty, that of `{'boxes': ...}` is `['boxes']`.
  """
  leaves, _ = jax.tree_util.tree_flatten_with_path(labels)
  return [(jax.tree_util.keystr(path), array) for path, array in leaves]


def check_class_indices(labels: PyTree, purpose: str = 'labels') -> None:
  """Checks that the labels are one class index per image.

  Args:
    labels: The labels of a split.
    purpose: Subject of the message, which needs class indices.

  Raises:
    ValueError: If the labels are not an int32 array `[N]`.
  """
  if isinstance(labels, np.ndarray):
    if labels.ndim == 1 and labels.dtype == np.int32:
      return
    form = f'{labels.dtype} of shape {labels.shape}'
  else:
    form = f'a tree with {", ".join(n for n, _ in named_arrays(labels))}'
  raise ValueError(
    f'{purpose} must be int32 [N], one class index per image, got {form}.'
  )


def check_several_classes(
  name: str, labels: PyTree, class_names: tuple[str, ...]
) -> None:
  """Checks that training images show at least two classes.

  Every answer of a network would be right otherwise. Labels that are not one
  class index per image are not checked.

  Args:
    name: Name of the dataset, for messages.
    labels: Labels of the training images.
    class_names: Names of the classes.

  Raises:
    ValueError: If all images are of one class.
  """
  if not isinstance(labels, np.ndarray) or labels.ndim != 1:
    return
  if (labels == labels[0]).all():
    raise ValueError(
      f'{name}: all {len(labels):,} training images are of one class, '
      f'{printable(class_names[labels[0]])}, so that every answer would be '
      'right; expected at least two classes.'
    )
