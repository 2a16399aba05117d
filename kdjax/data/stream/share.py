"""Who reads and decodes a stream's images: threads and processes, by grain."""

import dataclasses
import sys
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
from absl import flags
from PIL import Image

from kdjax.data.stream.views import View

Broken = Literal['stop', 'skip']
# Of some rows of a batch: `image` uint8 `[G, height, width, 3]`, `index` int32,
# `decoded` bool, `skipped` int32, and `broken`, what is wrong, by row.
Group = dict[str, Any]

TRIES = 100  # images in a row that do not decode: it is not the images
# Rows that a thread decodes at a time. What a process costs besides decoding is
# half a millisecond for each group, be it of one image.
GROUP = 8


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


# Grain asks for its name, which would be that of a million files.
@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Share:
  """Rows of batches one after the other, in groups, decoded when asked for.

  Attributes:
    files: The encoded images.
    view: What is shown of each.
    seed: Of what is drawn.
    order: Of images, by place.
    batch_size: Places that a batch takes.
    first: Batch.
    rows: Of each batch.
    epoch: From a place to the one that may take its image's place.
    tries: How many may.
  """

  files: Files
  view: View
  seed: int
  order: Sequence[int]
  batch_size: int
  first: int
  rows: tuple[int, ...]
  epoch: int
  tries: int

  @property
  def groups(self) -> int:
    """How many make a batch; the last one may be smaller."""
    return -(-len(self.rows) // GROUP)

  def __len__(self) -> int:
    batches = -(-len(self.order) // self.batch_size) - self.first
    return min(batches * self.groups, sys.maxsize)

  def __getitem__(self, index: int) -> Group:
    batch, part = divmod(int(index), self.groups)
    start = (self.first + batch) * self.batch_size
    rows = self.rows[part * GROUP : (part + 1) * GROUP]
    count = len(rows)
    group: Group = {
      'image': np.zeros((count, *self.view.size, 3), np.uint8),
      'index': np.zeros(count, np.int32),
      'decoded': np.zeros(count, bool),
      'skipped': np.zeros(count, np.int32),
      'broken': [''] * count,
    }
    for item, row in enumerate(rows):
      self._fill(group, item, start + row)
    return group

  def _fill(self, group: Group, item: int, place: int) -> None:
    """The image of a place, or of the first that may take it and decodes."""
    if place >= len(self.order):
      return
    for skipped in range(self.tries):
      index = int(self.order[place + skipped * self.epoch])
      group['index'][item] = index
      group['skipped'][item] = skipped
      # What is wrong is data here: an exception of a worker process would reach
      # the user as a traceback of grain's, and end the others.
      try:
        random = np.random.default_rng((self.seed, place, skipped))
        group['image'][item] = self.view(self.files.read(index), random)
        group['decoded'][item] = True
        return
      except (OSError, SyntaxError, ValueError) as error:
        # SyntaxError: a broken PNG.
        name = self.files.name(index)
        group['broken'][item] = f'cannot decode {name}: {error}'
      except Image.DecompressionBombError as error:
        group['broken'][item] = str(error)
    group['skipped'][item] = self.tries


def read_ahead(share: Share, reading: Reading) -> Any:
  """An iterator over a share's groups, decoded ahead; `close` ends it."""
  import grain  # costs half a second, and only streams need it

  ahead = 2 * reading.threads
  groups = grain.MapDataset.source(share).to_iter_dataset(
    grain.ReadOptions(num_threads=reading.threads, prefetch_buffer_size=ahead)
  )
  if reading.workers:
    # grain asks absl for a flag of its own, and absl refuses before a main of
    # its own has read the command line; ours has other flags.
    if not flags.FLAGS.is_parsed():
      flags.FLAGS.mark_as_parsed()
    groups = groups.mp_prefetch(
      grain.MultiprocessingOptions(
        num_workers=reading.workers, per_worker_buffer_size=ahead
      )
    )
  return iter(groups)
