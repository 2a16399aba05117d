"""Reads and decodes the images of a stream in threads and processes.

The work is done by grain. Its unit is a group: a few rows of a batch.
"""

import dataclasses
import sys
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from absl import flags

from kdjax.data.files import Files, open_image
from kdjax.data.stream.views import View
from kdjax.data.stream.workers import start_worker

BrokenImages = Literal['stop', 'skip']
# Rows of a batch: `image` uint8 `[G, height, width, 3]`, `index` int32 `[G]`,
# `decoded` bool `[G]`, `skipped` int32 `[G]`, and `broken`, a list of messages.
Group = dict[str, Any]

# Images in a row that cannot be decoded before a run stops.
MAX_ATTEMPTS = 100
MAX_WORKERS = 1024  # processes, and threads of each
# Rows that a thread decodes at a time. Besides decoding, a group costs a worker
# process half a millisecond, regardless of its size.
GROUP_SIZE = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading:
  """Settings of reading the images of a streamed dataset.

  Attributes:
    workers: Processes that decode (0: threads of this process, which is enough
      for a few cores).
    threads: Threads that decode in each process.
    broken_images: Behavior if an image cannot be decoded: `stop` ends the run
      and names it; `skip` counts it and uses another image instead, or
      none where each image comes once.

  Raises:
    ValueError: If `workers` is negative, `threads` is not positive, or one of
      them is more than a machine can serve.
  """

  workers: int = 0
  threads: int = 4
  broken_images: BrokenImages = 'stop'

  def __post_init__(self):
    """Checks the numbers before grain does, whose messages are less plain."""
    most = MAX_WORKERS
    if not (0 <= self.workers <= most and 1 <= self.threads <= most):
      raise ValueError(
        f'workers must be zero or more and threads at least 1, both at most '
        f'{most}, got {self.workers} and {self.threads}.'
      )


# Grain calls `repr`, which would print the names of a million files.
@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class GroupSource:
  """Groups of decoded rows by index, batch after batch, for grain.

  Attributes:
    files: The encoded images.
    view: View of each image.
    seed: Seed of the views.
    order: Index of the image at each position; batch b has the positions from
      `b * batch_size` on.
    batch_size: Positions of a batch.
    first_batch: The first batch.
    rows: Rows that are decoded of each batch.
    epoch_size: Distance from a position to the position whose image replaces
      its own if that cannot be decoded.
    attempts: Images that are tried at a position.
  """

  files: Files
  view: View
  seed: int
  order: Sequence[int]
  batch_size: int
  first_batch: int
  rows: tuple[int, ...]
  epoch_size: int
  attempts: int

  @property
  def groups_per_batch(self) -> int:
    """Groups of a batch; the last group may be smaller."""
    return -(-len(self.rows) // GROUP_SIZE)

  def __len__(self) -> int:
    batches = -(-len(self.order) // self.batch_size) - self.first_batch
    return min(batches * self.groups_per_batch, sys.maxsize)

  def __getitem__(self, index: int) -> Group:
    batch, part = divmod(int(index), self.groups_per_batch)
    start = (self.first_batch + batch) * self.batch_size
    rows = self.rows[part * GROUP_SIZE : (part + 1) * GROUP_SIZE]
    count = len(rows)
    group: Group = {
      'image': np.zeros((count, *self.view.size, 3), np.uint8),
      'index': np.zeros(count, np.int32),
      'decoded': np.zeros(count, bool),
      'skipped': np.zeros(count, np.int32),
      'broken': [''] * count,
    }
    for item, row in enumerate(rows):
      self._decode_into(group, item, start + row)
    return group

  def _decode_into(self, group: Group, item: int, position: int) -> None:
    """Decodes the image at a position, or the first replacement that works."""
    if position >= len(self.order):
      return
    for attempt in range(self.attempts):
      index = int(self.order[position + attempt * self.epoch_size])
      group['index'][item] = index
      group['skipped'][item] = attempt
      # The message is data here: an exception in a worker process would reach
      # the user as a traceback of grain, and end the other workers.
      try:
        random = np.random.default_rng((self.seed, position, attempt))
        pixels = self.view(open_image(self.files, index), random)
      except ValueError as error:
        group['broken'][item] = str(error)
      else:
        group['image'][item] = pixels
        group['decoded'][item] = True
        return
    group['skipped'][item] = self.attempts


def read_groups(source: GroupSource, reading: Reading) -> Any:
  """Starts reading the groups of `source` in order, decoded ahead.

  Args:
    source: The groups.
    reading: Numbers of processes and threads.

  Returns:
    An iterator over groups; its `close` ends the processes and threads.
  """
  import grain  # takes half a second, and only streams need it

  ahead = 2 * reading.threads
  groups = grain.MapDataset.source(source).to_iter_dataset(
    grain.ReadOptions(num_threads=reading.threads, prefetch_buffer_size=ahead)
  )
  if reading.workers:
    # grain reads a flag of its own from absl, which refuses before absl has
    # parsed a command line; the flags of kdjax are parsed by tyro.
    if not flags.FLAGS.is_parsed():
      flags.FLAGS.mark_as_parsed()
    groups = groups.mp_prefetch(
      grain.MultiprocessingOptions(
        num_workers=reading.workers, per_worker_buffer_size=ahead
      ),
      start_worker,
    )
  return iter(groups)
