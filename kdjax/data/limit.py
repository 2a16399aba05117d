"""Training splits with a limited number of images per class."""

import numpy as np

from kdjax.data.labels import check_class_indices
from kdjax.data.split import Split
from kdjax.typing import PyTree


def limit_per_class(split: Split, limit: int, seed: int = 0) -> Split:
  """Returns at most `limit` images of each class, in the order of `split`.

  The choice depends on `seed` alone, and the images of a smaller limit are
  among those of a larger one, so that curves over the number of labels nest.

  Args:
    split: Split to choose from; its labels are one class index per image.
    limit: Images per class, at least 1; a class with fewer images keeps all.
    seed: Seed of the choice.

  Returns:
    A split with copies of the chosen rows.

  Raises:
    ValueError: If `limit` is below 1, or the labels are not class indices.

  Examples:
    >>> import numpy as np
    >>> from kdjax import data
    >>> labels = np.array([0, 1, 0, 1, 0, 2], np.int32)
    >>> split = data.Split(np.zeros((6, 4, 4, 1), np.uint8), labels)
    >>> data.limit_per_class(split, 1).labels.tolist()
    [0, 1, 2]
    >>> len(data.limit_per_class(split, 2))
    5
  """
  rows = rows_per_class(split.labels, limit, seed)
  return Split(split.images[rows], split.labels[rows])


def rows_per_class(labels: PyTree, limit: int, seed: int) -> np.ndarray:
  """Returns the rows that `limit_per_class` keeps.

  Args:
    labels: int32 `[N]`, one class index per image.
    limit: Images per class, at least 1.
    seed: Seed of the choice.

  Returns:
    Integer `[R]`, indices of images, ascending.

  Raises:
    ValueError: If `limit` is below 1, or the labels are not class indices.
  """
  if limit < 1:
    raise ValueError(
      f'limit is training images per class, at least 1, got {limit}.'
    )
  check_class_indices(labels, 'limit counts images per class, so labels')
  rank = np.random.default_rng(seed).random(len(labels))
  keep = []
  for label in np.unique(labels):
    members = np.flatnonzero(labels == label)
    keep.append(members[np.argsort(rank[members], kind='stable')[:limit]])
  return np.sort(np.concatenate(keep))
