"""Image sets too large for memory: read and decoded while training, by grain.

The order is a function of seed and position alone, whatever number of worker
processes decodes, so that a position and a count are all that a checkpoint
needs to go on with the same images.
"""

import dataclasses
import io
from typing import Any, Literal, Protocol

import numpy as np
from absl import flags
from PIL import Image

from kdjax.data.resize import resize

Batch = dict[str, np.ndarray]
Broken = Literal['stop', 'skip']


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
      and names it, `skip` leaves it out and counts it.
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
    size: Height and width that every image is brought to.
    reading: By how many processes, and what of broken ones.

  Raises:
    ValueError: If there are none, or not as many of one as of the other.
  """

  files: Files
  labels: np.ndarray
  size: tuple[int, int]
  reading: Reading = Reading()

  def __post_init__(self):
    if len(self.files) != len(self.labels):
      raise ValueError(
        f'{len(self.files)} images but {len(self.labels)} labels'
      )
    if not len(self.files):
      raise ValueError('there are no images.')
    if min(self.size) < 1:
      raise ValueError(f'images need a size of at least 1, got {self.size}.')

  def __len__(self) -> int:
    return len(self.labels)

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """Height, width and channels of one image."""
    return (*self.size, 3)

  def shuffled(
    self, seed: int, position: int = 0, skipped: int = 0
  ) -> 'Stream':
    """Epoch after epoch without end, each in an order of its own.

    Args:
      seed: Of the order, in [0, 2**32).
      position: Images that have been taken before.
      skipped: How many of them were broken.
    """
    import grain  # costs half a second, and only streams need it

    order = grain.MapDataset.source(_Decoded(self.files, self.size))
    order = order.shuffle(seed=seed).repeat()[position:]
    return Stream(self, order, position, skipped)

  def in_order(self, first: int | None = None) -> 'Stream':
    """Once from the first image to the last, or to the `first`-th."""
    import grain

    order = grain.MapDataset.source(_Decoded(self.files, self.size))
    return Stream(self, order[:first], 0, 0)


class Stream:
  """Decoded images one after the other, and how far they have come.

  Attributes:
    position: Images taken so far, broken ones counted.
    skipped: Broken ones among them.
  """

  def __init__(
    self, split: StreamedSplit, order: Any, position: int, skipped: int
  ):
    self.position = position
    self.skipped = skipped
    self._split = split
    self._examples = _iterate(order, split.reading)

  def take(self, count: int) -> Batch | None:
    """The next images: `image`, `label` and `index`, their places in the set.

    Fewer at the end of a stream that has one, and then `None`.

    Raises:
      ValueError: If an image does not decode and none may be skipped, or if
        none of a whole set does.
    """
    taken = []
    while len(taken) < count:
      example = self._next()
      if example is None:
        break
      taken.append(example)
    if not taken:
      return None
    index = np.array([example['index'] for example in taken], np.int32)
    return {
      'image': np.stack([example['image'] for example in taken]),
      'label': self._split.labels[index],
      'index': index,
    }

  def close(self) -> None:
    """Ends its threads and processes."""
    self._examples.close()

  def _next(self) -> dict[str, Any] | None:
    broken = 0
    while (example := next(self._examples, None)) is not None:
      self.position += 1
      if 'image' in example:
        return example
      broken += 1
      self._leave_out(example['broken'], broken)
    if self.skipped == self.position:
      raise ValueError(f'none of {self.position} images can be decoded.')
    return None

  def _leave_out(self, message: str, in_a_row: int) -> None:
    if self._split.reading.broken_images == 'stop':
      raise ValueError(
        f'{message}. Replace the file, or give --broken_images=skip to leave '
        'out and count what does not decode.'
      )
    self.skipped += 1
    # At the end of one epoch and at the beginning of the next, all but one.
    if in_a_row > 2 * len(self._split):
      raise ValueError(
        f'none of the {len(self._split)} images can be decoded; the last: '
        f'{message}.'
      )


@dataclasses.dataclass(frozen=True)
class _Decoded:
  """The images of a set, decoded by whoever asks for one."""

  files: Files
  size: tuple[int, int]

  def __len__(self) -> int:
    return len(self.files)

  def __getitem__(self, index: int) -> dict[str, Any]:
    # What is wrong is data here: an exception of a worker process would reach
    # the user as a traceback of grain's, and end the others.
    try:
      return {
        'index': index,
        'image': decode(self.files.read(index), self.size),
      }
    except (OSError, SyntaxError, ValueError) as error:
      # SyntaxError: a broken PNG.
      name = self.files.name(index)
      return {'index': index, 'broken': f'cannot decode {name}: {error}'}
    except Image.DecompressionBombError as error:
      return {'index': index, 'broken': str(error)}


def decode(content: bytes, size: tuple[int, int]) -> np.ndarray:
  """A file's contents as uint8 `[height, width, 3]` of the given size.

  Whatever it is, it becomes RGB; its proportions are not kept.
  """
  with Image.open(io.BytesIO(content)) as image:
    return np.asarray(resize(image.convert('RGB'), size))


def _iterate(order: Any, reading: Reading) -> Any:
  """The elements of a grain set, decoded ahead."""
  import grain

  threads = reading.threads
  examples = order.to_iter_dataset(
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
