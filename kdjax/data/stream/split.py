"""Image sets too large for memory: read and decoded while training, by grain.

The image in a row of a batch is a function of seed, batch and row alone. Any
number of worker processes and of machines may decode, each its own rows, and
the number of a batch is all that is needed to go on with the same images.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator

import numpy as np

from kdjax.data.stream.prefetch import Ahead
from kdjax.data.stream.share import (
  TRIES,
  Files,
  Group,
  Reading,
  Share,
  read_ahead,
)
from kdjax.data.stream.views import View

Batch = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class StreamedSplit:
  """Images that are decoded when they are needed, and their labels.

  Attributes:
    files: The encoded images.
    labels: `[N, …]`, one row per image.
    view: What is shown of each image, in order.
    varied: What is shown of them when they are shuffled; the same without.
    reading: By how many processes, and what of broken ones.

  Raises:
    ValueError: If there are none, or not as many of one as of the other, or if
      the two views differ in size.
  """

  files: Files
  labels: np.ndarray
  view: View
  varied: View | None = None
  reading: Reading = Reading()

  def __post_init__(self):
    if len(self.files) != len(self.labels):
      raise ValueError(
        f'{len(self.files)} images but {len(self.labels)} labels'
      )
    if not len(self.files):
      raise ValueError('there are no images.')
    if self.varied is not None and self.varied.size != self.view.size:
      raise ValueError(
        f'views differ in size: {self.view.size} and {self.varied.size}.'
      )

  def __len__(self) -> int:
    return len(self.labels)

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """Height, width and channels of one image."""
    return (*self.view.size, 3)

  def shuffled(
    self,
    seed: int,
    size: int,
    *,
    first: int = 0,
    rows: Iterable[int] | None = None,
  ) -> 'Stream':
    """Batches without end, each epoch in an order of its own.

    What an epoch leaves over begins the next one. The place of an image that
    does not decode is taken by the one that has it in the next epoch's order.
    What a view draws is a function of seed and place.

    Args:
      seed: Of the order and of what is drawn, in [0, 2**32).
      size: Images in a batch.
      first: Batches that have been taken before.
      rows: Of each batch, those that are decoded here; all without.
    """
    import grain  # costs half a second, and only streams need it

    order = grain.MapDataset.range(len(self)).shuffle(seed=seed).repeat()
    return self._open(
      order,
      size,
      first,
      rows,
      view=self.varied or self.view,
      seed=seed,
      epoch=len(self),
      tries=TRIES,
    )

  def in_order(
    self,
    size: int,
    *,
    count: int | None = None,
    rows: Iterable[int] | None = None,
  ) -> 'Stream':
    """Batches from the first image to the last, or to the `count`-th.

    The last one is filled up with rows that do not count, and so is the place
    of an image that does not decode: `decoded` is false there.

    Args:
      size: Images in a batch.
      count: How many images; all without.
      rows: Of each batch, those that are decoded here; all without.
    """
    order = range(len(self) if count is None else min(count, len(self)))
    return self._open(
      order, size, 0, rows, view=self.view, seed=0, epoch=0, tries=1
    )

  def _open(self, order, size, first, rows, **how) -> 'Stream':
    if size < 1:
      raise ValueError(f'a batch needs at least one image, got {size}.')
    rows = range(size) if rows is None else rows
    share = Share(
      files=self.files,
      order=order,
      batch_size=size,
      first=first,
      rows=tuple(int(row) for row in rows),
      **how,
    )
    return Stream(self, share, first)


class Stream(Iterator[Batch]):
  """Batches of decoded images, or the same rows of each of them.

  A batch is `image` uint8 `[R, height, width, 3]`, `label`, `index`, their
  places in the set, `decoded`, whether a row counts, and `skipped`, how many
  images did not decode before the one in its place. Two lie ready ahead of the
  one that is asked for.

  Attributes:
    batch: The number of the next one.
  """

  def __init__(self, split: StreamedSplit, share: Share, first: int):
    self.batch = first
    self._split = split
    self._count = share.groups
    self._groups = read_ahead(share, split.reading)
    self._ahead = Ahead(self._read())

  def __next__(self) -> Batch:
    """The next batch.

    Raises:
      ValueError: If an image does not decode and none may be skipped, or if
        none of many does.
    """
    batch = next(self._ahead)
    self.batch += 1
    return batch

  def close(self) -> None:
    """Ends its threads and processes."""
    self._ahead.close()
    self._groups.close()

  def _read(self) -> Iterator[Batch]:
    for first in self._groups:
      groups = [first, *itertools.islice(self._groups, self._count - 1)]
      for group in groups:
        self._check(group)
      columns = {
        name: np.concatenate([group[name] for group in groups])
        for name in ('image', 'index', 'decoded', 'skipped')
      }
      yield {**columns, 'label': self._split.labels[columns['index']]}

  def _check(self, group: Group) -> None:
    message = next(filter(None, group['broken']), '')
    if message and self._split.reading.broken_images == 'stop':
      raise ValueError(
        f'{message}. Replace the file, or give --broken_images=skip to leave '
        'out and count what does not decode.'
      )
    if (group['skipped'] == TRIES).any():
      raise ValueError(
        f'none of {TRIES} images in a row can be decoded; the last: {message}.'
      )
