"""Batches of a streamed split."""

import itertools
from collections.abc import Iterator

import numpy as np

from kdjax.data.labels import take_rows
from kdjax.data.stream.prefetch import Prefetcher
from kdjax.data.stream.reading import (
  MAX_ATTEMPTS,
  Group,
  GroupSource,
  Reading,
  read_groups,
)
from kdjax.data.stream.workers import checked
from kdjax.typing import Batch, PyTree


class Stream(Iterator[Batch]):
  """Batches of decoded images, or certain rows of each batch.

  A batch has `image` uint8 `[R, height, width, 3]`; `label`, the labels' tree
  with R rows; `index` int32 `[R]`, indices of the images in the split;
  `decoded` bool `[R]`, False in rows without an image; and `skipped` int32
  `[R]`, how many images could not be decoded before the one in a row. Two
  batches are prepared ahead.

  Attributes:
    batch: Number of the next batch.
  """

  def __init__(self, source: GroupSource, labels: PyTree, reading: Reading):
    """Starts the threads and processes.

    Args:
      source: The decoded groups.
      labels: Labels of all images of the split.
      reading: How images are read.
    """
    self.batch = source.first_batch
    self._labels = labels
    self._broken_images = reading.broken_images
    self._groups_per_batch = source.groups_per_batch
    self._groups = read_groups(source, reading)
    self._prefetcher = Prefetcher(self._assemble())

  def __next__(self) -> Batch:
    """Returns the next batch.

    Raises:
      ValueError: If an image cannot be decoded and none may be skipped, or if
        too many in a row cannot be decoded.
    """
    batch = next(self._prefetcher)
    self.batch += 1
    return batch

  def close(self) -> None:
    """Ends its threads and processes."""
    self._prefetcher.close()
    self._groups.close()

  def _assemble(self) -> Iterator[Batch]:
    """Yields batches from their groups."""
    decoded = checked(self._groups)
    for first in decoded:
      rest = itertools.islice(decoded, self._groups_per_batch - 1)
      groups = [first, *rest]
      for group in groups:
        self._check(group)
      columns = {
        name: np.concatenate([group[name] for group in groups])
        for name in ('image', 'index', 'decoded', 'skipped')
      }
      yield {**columns, 'label': take_rows(self._labels, columns['index'])}

  def _check(self, group: Group) -> None:
    message = next(filter(None, group['broken']), '')
    if message and self._broken_images == 'stop':
      raise ValueError(
        f'{message}. Replace the file, or give --broken_images=skip to leave '
        'out and count images that cannot be decoded.'
      )
    if (group['skipped'] == MAX_ATTEMPTS).any():
      raise ValueError(
        f'none of {MAX_ATTEMPTS} images in a row can be decoded; the last: '
        f'{message}.'
      )
