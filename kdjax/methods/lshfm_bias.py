"""Offsets of LSHFM's hyperplanes, fitted to features on the host."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Bias = Literal['zero', 'mean', 'median']
Floats = NDArray[np.floating[Any]]
# Each call yields all features in batches `[n_i, D]`.
FeatureBatches = Callable[[], Iterable[ArrayLike]]

GIB = 2**30


def fit_bias(
  kernel: ArrayLike,
  batches: FeatureBatches,
  kind: Bias,
  *,
  memory: int = GIB,
  unseen: int = 0,
) -> Floats:
  r"""Returns offsets that move the hyperplanes to the center of the features.

  With the hashes :math:`h_{ij} = \sum_d f_{id} W_{dj}` of :math:`n` features,
  :math:`b_j` is minus their mean, or minus their lower median: the one with
  index :math:`\lfloor (n - 1) / 2 \rfloor` after sorting. With the median
  exactly :math:`\lfloor n / 2 \rfloor` features have a positive hash, if all
  hashes differ.

  The median is exact and is computed for chunks of hashes that fit into the
  memory. Features are stored if they need at most half of it, and otherwise
  computed again for each chunk.

  Args:
    kernel: :math:`W`, `[D, N]`.
    batches: Yields all features, in batches; not called for `zero`.
    kind: `zero`, `mean` or `median`.
    memory: Host memory in bytes that the fit may use.
    unseen: Number of features that are missing and whose hashes count as 0, as
      those of the last batch do in the published multi-label code.

  Returns:
    :math:`b`, `[N]`, in at least float32.

  Raises:
    ValueError: If there are no features, or one hash of all features does not
      fit into the memory.
  """
  weights = _full_precision(kernel)
  if kind == 'zero':
    return np.zeros_like(weights[0])

  def features() -> Iterator[Floats]:
    return map(_full_precision, batches())

  if kind == 'mean':
    return np.negative(_mean(weights, features, unseen))
  return np.negative(_lower_median(weights, features, memory, unseen))


def classifier_std(kernel: ArrayLike) -> float:
  """Returns the standard deviation of a kernel, with divisor count - 1.

  Raises:
    ValueError: If it is not positive.
  """
  std = float(np.std(np.asarray(kernel, np.float64), ddof=1))
  if not std > 0:
    raise ValueError(
      "The standard deviation of the weights of the teacher's classifier, with "
      f'which lshfm draws its hyperplanes, is {std} and must be positive. Give '
      '--method.spread.'
    )
  return std


def _mean(
  kernel: Floats, features: Callable[[], Iterable[Floats]], unseen: int
) -> Floats:
  """Returns the mean of each hash, `[N]`."""
  count, total = unseen, np.zeros(len(kernel))
  for rows in features():
    total += rows.sum(0, dtype=np.float64)
    count += len(rows)
  _check_any(count - unseen)
  return (total / count @ kernel).astype(kernel.dtype)


def _lower_median(
  kernel: Floats,
  features: Callable[[], Iterable[Floats]],
  memory: int,
  unseen: int,
) -> Floats:
  """Returns the lower median of each hash, `[N]`."""
  stored, count = _store(features, memory // 2)
  _check_any(count)
  if stored is not None:
    memory -= sum(rows.nbytes for rows in stored)
  middle = (count + unseen - 1) // 2
  medians: list[Floats] = []
  for start, stop in _chunks(kernel, count + unseen, memory):
    values = np.zeros((stop - start, count + unseen), kernel.dtype)
    column = 0
    for rows in features() if stored is None else stored:
      values[:, column : column + len(rows)] = kernel[:, start:stop].T @ rows.T
      column += len(rows)
    values.partition(middle, axis=1)
    medians.append(values[:, middle].copy())
    del values  # before the next chunk is allocated
  return np.concatenate(medians)


def _store(
  features: Callable[[], Iterable[Floats]], memory: int
) -> tuple[list[Floats] | None, int]:
  """Returns all features, or `None` if they need more memory; their number."""
  stored: list[Floats] | None = []
  count = 0
  for rows in features():
    count += len(rows)
    memory -= rows.nbytes
    if memory < 0:
      stored = None
    if stored is not None:
      stored.append(rows)
  return stored, count


def _chunks(
  kernel: Floats, values: int, memory: int
) -> Iterator[tuple[int, int]]:
  """Yields ranges of hashes whose values fit into the memory, with a batch's.

  Args:
    kernel: `[D, N]`.
    values: Number of values of a hash.
    memory: Bytes.
  """
  bytes_per_hash = 2 * values * kernel.itemsize
  size = memory // bytes_per_hash
  if size < 1:
    raise ValueError(
      f'The median of {values} hashes needs at least {4 * bytes_per_hash} '
      'bytes of memory. Give more, or bias=mean or bias=zero, which need '
      'almost none.'
    )
  for start in range(0, kernel.shape[1], size):
    yield start, min(start + size, kernel.shape[1])


def _check_any(count: int) -> None:
  if not count:
    raise ValueError('A bias cannot be fitted to no features at all.')


def _full_precision(array: ArrayLike) -> Floats:
  """Returns the array in at least float32; NumPy itself has no bfloat16."""
  floats = np.asarray(array)
  return floats if floats.dtype == np.float64 else floats.astype(np.float32)
