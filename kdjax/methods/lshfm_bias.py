"""Where LSHFM's planes lie: found in the teacher's features, on the host."""

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import numpy as np

Bias = Literal['zero', 'mean', 'median']
Walk = Callable[[], Iterable[np.typing.ArrayLike]]

GIB = 2**30


def fit_bias(
  kernel: np.typing.ArrayLike,
  walk: Walk,
  kind: Bias,
  *,
  memory: int = GIB,
  unseen: int = 0,
) -> np.ndarray:
  r"""Shifts the planes to the middle of the teacher's features.

  With the hashes :math:`h_{ij} = \sum_d f_{id} W_{dj}` of :math:`n` features,
  :math:`b_j` is minus their mean, or minus their lower median: the one in place
  :math:`\lfloor (n - 1) / 2 \rfloor` of the sorted ones, counted from 0. With
  the median exactly :math:`\lfloor n / 2 \rfloor` features have bit 1 where the
  hashes differ.

  The median is exact, in chunks of hashes that fit the memory. The features are
  kept if they take half of it at most, and otherwise walked over again for each
  chunk.

  Args:
    kernel: :math:`W`, `[D, N]`.
    walk: Each call gives all features, in batches `[n_i, D]`.
    kind: `zero` looks at no feature.
    memory: Bytes that the fit may take.
    unseen: Features that were not seen and whose hashes count as 0, as those of
      the last batch do in the published multi-label code.

  Returns:
    `[N]`, in float32 at least.

  Raises:
    ValueError: If there are no features, or one hash of all features does not
      fit the memory.
  """
  kernel = _full_precision(kernel)
  if kind == 'zero':
    return np.zeros(kernel.shape[1], kernel.dtype)
  fit = _mean if kind == 'mean' else _lower_median
  return -fit(kernel, lambda: map(_full_precision, walk()), memory, unseen)


def classifier_spread(kernel: np.typing.ArrayLike) -> float:
  """Standard deviation of all entries of a kernel, with divisor count - 1.

  Raises:
    ValueError: If it is no positive number.
  """
  spread = float(np.std(np.asarray(kernel, np.float64), ddof=1))
  if not spread > 0:
    raise ValueError(
      'The weights of the classifier of the teacher have no spread that lshfm '
      f'could draw its planes with ({spread}). Give --method.spread.'
    )
  return spread


def _mean(kernel, walk, memory, unseen):
  del memory
  count, total = unseen, np.zeros(len(kernel))
  for rows in walk():
    total += rows.sum(0, dtype=np.float64)
    count += len(rows)
  _check_any(count - unseen)
  return (total / count @ kernel).astype(kernel.dtype)


def _lower_median(kernel, walk, memory, unseen):
  kept, count = _features(walk, memory // 2)
  _check_any(count)
  if kept is not None:
    memory -= sum(rows.nbytes for rows in kept)
    walk = kept.__iter__
  middle = (count + unseen - 1) // 2
  medians = []
  for start, stop in _chunks(kernel, count + unseen, memory):
    values = np.zeros((stop - start, count + unseen), kernel.dtype)
    place = 0
    for rows in walk():
      values[:, place : place + len(rows)] = kernel[:, start:stop].T @ rows.T
      place += len(rows)
    values.partition(middle, axis=1)
    medians.append(values[:, middle].copy())
    del values  # before the next chunk takes as much
  return np.concatenate(medians)


def _features(walk, room):
  """All features, or `None` if they need more room; and how many there are."""
  kept, count = [], 0
  for rows in walk():
    count += len(rows)
    room -= rows.nbytes
    if room < 0:
      kept = None
    if kept is not None:
      kept.append(rows)
  return kept, count


def _chunks(
  kernel: np.ndarray, values: int, memory: int
) -> Iterator[tuple[int, int]]:
  """Ranges of hashes whose values fit the memory, with those of one batch."""
  each = 2 * values * kernel.itemsize
  size = memory // each
  if size < 1:
    raise ValueError(
      f'The median of {values} hashes needs at least {4 * each} bytes of '
      'memory. Give it, or bias=mean or bias=zero, which need next to none.'
    )
  for start in range(0, kernel.shape[1], size):
    yield start, min(start + size, kernel.shape[1])


def _check_any(count: int) -> None:
  if not count:
    raise ValueError('A bias cannot be fitted to no features at all.')


def _full_precision(array: np.typing.ArrayLike) -> np.ndarray:
  """A NumPy array in float32 at least; bfloat16 is none of NumPy's own."""
  array = np.asarray(array)
  return array if array.dtype == np.float64 else array.astype(np.float32)
