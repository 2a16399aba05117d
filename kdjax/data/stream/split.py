"""A split of images that are decoded on demand.

The image in a row of a batch is a function of seed, batch and row alone. Any
number of worker processes and of machines may decode, each its own rows, and
the number of the next batch is all that is needed to resume a stream.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any

from kdjax.data.files import Files
from kdjax.data.labels import check_labels
from kdjax.data.stream.batches import Stream
from kdjax.data.stream.reading import MAX_ATTEMPTS, GroupSource, Reading
from kdjax.data.stream.views import View
from kdjax.typing import PyTree


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class StreamedSplit:
  """Images that are decoded on demand, and their labels.

  Attributes:
    files: The N encoded images.
    labels: An array `[N]` or `[N, K]`, or a nested dict of arrays with N rows
      each.
    view: View of images that are read in order, for evaluation.
    train_view: View of images that are shuffled, for training (default:
      `view`).
    reading: Numbers of processes and threads, and the treatment of images that
      cannot be decoded.

  Raises:
    ValueError: If there are no images, an array of the labels does not have one
      row per image, or the two views differ in size.
  """

  files: Files
  labels: PyTree
  view: View
  train_view: View | None = None
  reading: Reading = Reading()

  def __post_init__(self):
    check_labels(self.labels, len(self.files))
    if not len(self.files):
      raise ValueError('there are no images.')
    if self.train_view is not None and self.train_view.size != self.view.size:
      raise ValueError(
        f'views differ in size: {self.view.size} and {self.train_view.size}.'
      )

  def __len__(self) -> int:
    return len(self.files)

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
  ) -> Stream:
    """Returns an endless stream of batches, each epoch in another order.

    The images that are left at the end of an epoch begin the next one. An image
    that cannot be decoded is replaced by the image at the same position of the
    next epoch's order. Random views are functions of seed and position.

    Args:
      seed: Seed of the order and of the views, in [0, 2**32).
      size: Images in a batch.
      first: Number of the first batch.
      rows: Rows of each batch that are decoded here (default: all).

    Raises:
      ValueError: If `size` is not positive.
    """
    import grain  # takes half a second, and only streams need it

    order = grain.MapDataset.range(len(self)).shuffle(seed=seed).repeat()
    return self._open(
      order,
      size,
      rows,
      first_batch=first,
      view=self.train_view or self.view,
      seed=seed,
      epoch_size=len(self),
      attempts=MAX_ATTEMPTS,
    )

  def in_order(
    self,
    size: int,
    *,
    count: int | None = None,
    rows: Iterable[int] | None = None,
  ) -> Stream:
    """Returns a stream of the images in order.

    Rows beyond the last image, and rows of images that cannot be decoded, are
    zeros, and `decoded` is False for them.

    Args:
      size: Images in a batch.
      count: Number of images (default: all).
      rows: Rows of each batch that are decoded here (default: all).

    Raises:
      ValueError: If `size` is not positive.
    """
    order = range(len(self) if count is None else min(count, len(self)))
    return self._open(
      order,
      size,
      rows,
      first_batch=0,
      view=self.view,
      seed=0,
      epoch_size=0,
      attempts=1,
    )

  def _open(
    self,
    order: Any,  # a sequence of int, or grain's
    size: int,
    rows: Iterable[int] | None,
    **settings,
  ) -> Stream:
    if size < 1:
      raise ValueError(f'a batch needs at least one image, got {size}.')
    rows = range(size) if rows is None else rows
    source = GroupSource(
      files=self.files,
      order=order,
      batch_size=size,
      rows=tuple(int(row) for row in rows),
      **settings,
    )
    return Stream(source, self.labels, self.reading)
