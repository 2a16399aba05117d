"""Image sets too large for memory: read and decoded while training, by grain.

The image in a row of a batch is a function of seed, batch and row alone. Any
number of worker processes and of machines may decode, each its own rows, and
the number of a batch is all that is needed to go on with the same images.
"""

import dataclasses
import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, Protocol

import numpy as np
from absl import flags
from PIL import Image

from kdjax.data.ahead import Ahead
from kdjax.data.views import View

Batch = dict[str, np.ndarray]
Broken = Literal['stop', 'skip']

_COLUMNS = {
  'image': np.uint8,
  'index': np.int32,
  'decoded': np.bool_,
  'skipped': np.int32,
}
_TRIES = 100  # images in a row that do not decode: it is not the images


class Files(Protocol):
  """Encoded images by number; pickled for the worker processes."""

  def __len__(self) -> int: ...

  def read(self, index: int) -> bytes:
    """The file's contents; an `OSError` where it cannot be read."""
    ...

  def name(self, index: int) -> str:
    """What messages call it."""
    ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading:
  """How a streamed set is read.

  Attributes:
    workers: Processes that decode; 0 leaves it to threads of this one, which
      is enough for few cores.
    threads: In each of them.
    broken_images: What an image that does not decode does: `stop` ends the run
      and names it, `skip` counts it and takes another in its place, or none
      where each image comes once.
  """

  workers: int = 0
  threads: int = 4
  broken_images: Broken = 'stop'

  def __post_init__(self):
    """Checks what grain would say less plainly."""
    if self.workers < 0 or self.threads < 1:
      raise ValueError(
        'workers must be zero or more and threads at least 1, got '
        f'{self.workers} and {self.threads}.'
      )


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
      tries=_TRIES,
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
    share = _Share(
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

  def __init__(self, split: StreamedSplit, share: '_Share', first: int):
    self.batch = first
    self._split = split
    self._rows = len(share.rows)
    self._examples = _iterate(share, split.reading)
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
    self._examples.close()

  def _read(self) -> Iterator[Batch]:
    for example in self._examples:
      rest = itertools.islice(self._examples, self._rows - 1)
      examples = [example, *rest]
      self._check(examples)
      columns = {
        name: np.array([example[name] for example in examples], dtype)
        for name, dtype in _COLUMNS.items()
      }
      yield {**columns, 'label': self._split.labels[columns['index']]}

  def _check(self, examples: Sequence[dict[str, Any]]) -> None:
    for example in examples:
      message = example['broken']
      if message and self._split.reading.broken_images == 'stop':
        raise ValueError(
          f'{message}. Replace the file, or give --broken_images=skip to leave '
          'out and count what does not decode.'
        )
      if example['skipped'] == _TRIES:
        raise ValueError(
          f'none of {_TRIES} images in a row can be decoded; the last: '
          f'{message}.'
        )


# Grain asks for its name, which would be that of a million files.
@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class _Share:
  """Rows of batches one after the other, decoded by whoever asks for one."""

  files: Files
  view: View
  seed: int
  order: Sequence[int]  # of images, by place
  batch_size: int
  first: int  # batch
  rows: tuple[int, ...]
  epoch: int  # from a place to what may take it
  tries: int

  def __len__(self) -> int:
    batches = -(-len(self.order) // self.batch_size) - self.first
    return min(batches * len(self.rows), sys.maxsize)

  def __getitem__(self, index: int) -> dict[str, Any]:
    batch, row = divmod(int(index), len(self.rows))
    place = (self.first + batch) * self.batch_size + self.rows[row]
    found = {'index': 0, 'decoded': False, 'skipped': 0, 'broken': ''}
    found['image'] = np.zeros((*self.view.size, 3), np.uint8)
    if place >= len(self.order):
      return found
    for skipped in range(self.tries):
      found['index'] = int(self.order[place + skipped * self.epoch])
      # What is wrong is data here: an exception of a worker process would reach
      # the user as a traceback of grain's, and end the others.
      try:
        content = self.files.read(found['index'])
        random = np.random.default_rng((self.seed, place, skipped))
        found['image'] = self.view(content, random)
        return {**found, 'decoded': True}
      except (OSError, SyntaxError, ValueError) as error:
        # SyntaxError: a broken PNG.
        name = self.files.name(found['index'])
        found['broken'] = f'cannot decode {name}: {error}'
      except Image.DecompressionBombError as error:
        found['broken'] = str(error)
      found['skipped'] += 1
    return found


def _iterate(share: _Share, reading: Reading) -> Any:
  """The images of a share, decoded ahead."""
  import grain

  threads = reading.threads
  examples = grain.MapDataset.source(share).to_iter_dataset(
    grain.ReadOptions(num_threads=threads, prefetch_buffer_size=4 * threads)
  )
  if reading.workers:
    # grain asks absl for a flag of its own, and absl refuses before a main of
    # its own has read the command line; ours has other flags.
    if not flags.FLAGS.is_parsed():
      flags.FLAGS.mark_as_parsed()
    examples = examples.mp_prefetch(
      grain.MultiprocessingOptions(
        num_workers=reading.workers, per_worker_buffer_size=4 * threads
      )
    )
  return iter(examples)
