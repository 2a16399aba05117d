"""Multi-label sets by name, streamed: VOC, COCO, and folders like COCO's."""

import dataclasses
import functools
import hashlib
import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from kdjax.data.color import ColorJitter
from kdjax.data.stream.coco import read_coco
from kdjax.data.stream.share import Files, Reading
from kdjax.data.stream.split import StreamedSplit
from kdjax.data.stream.views import View, Whole
from kdjax.data.tfds import prepared
from kdjax.names import unknown

# Of ImageNet, whose weights the networks start from.
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
_READING = Reading()


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class StreamedDataset:
  """A streamed training and test split; what `Dataset` is for sets in memory.

  Attributes:
    name: As the command line gave it.
    train: Training images; labels int8 `[N, K]` of 0 and 1.
    test: Test images; labels below 0 are not judged.
    class_names: One per column of the labels.
    mean: Per channel, of images in [0, 1]; networks subtract it.
    std: Per channel; networks divide by it after that.
    augment: `(key, uint8 images) -> float32 images in [0, 1]`.
    left_out: Images without any label that are in neither split.
  """

  name: str
  train: StreamedSplit
  test: StreamedSplit
  class_names: tuple[str, ...]
  mean: tuple[float, ...] = _MEAN
  std: tuple[float, ...] = _STD
  augment: Callable[[jax.Array, jax.Array], jax.Array] = ColorJitter()
  left_out: int = 0

  @property
  def num_classes(self) -> int:
    """Columns of the labels."""
    return len(self.class_names)

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """Height, width and channels of one image."""
    return self.train.image_shape

  @functools.cached_property
  def fingerprint(self) -> str:
    """SHA-256 of views, names, labels and image names, not of the pixels."""
    digest = hashlib.sha256(
      repr((self.train.view, self.train.varied, self.class_names)).encode()
    )
    for split in (self.train, self.test):
      digest.update(np.ascontiguousarray(split.labels).data)
      for row in range(len(split)):
        name = os.path.basename(split.files.name(row))
        digest.update(name.encode() + b'\n')
    return digest.hexdigest()


def load_multi_label(
  name: str,
  *,
  size: int = 448,
  data_dir: str | os.PathLike[str] | None = None,
  reading: Reading = _READING,
  keep_unlabelled: bool = False,
) -> StreamedDataset:
  """A multi-label set; its images stay where they are.

  Args:
    name: `voc2007`, `coco2014` (through TFDS), or `coco:PATH`, see `read_coco`.
    size: Height and width that images are brought to, without a crop.
    data_dir: TFDS's folder of sets; `TFDS_DATA_DIR` or `~/tensorflow_datasets`
      if not given.
    reading: By how many processes, and what of images that do not decode.
    keep_unlabelled: Whether images without any label are kept, as showing no
      class; they are left out otherwise, as in the published code.

  Raises:
    ValueError: If there is no such set, or its parts do not fit each other.
    DataUnavailableError: (a ValueError) If it can be neither read nor
      downloaded.
  """
  if size < 1:
    raise ValueError(f'image_size must be at least 1, got {size}.')
  train, test = _open(name, data_dir)
  if train.class_names != test.class_names:
    raise ValueError(
      f'{name}: training and test images have other categories: '
      f'{", ".join(train.class_names)} against {", ".join(test.class_names)}.'
    )
  view = Whole((size, size))
  splits = [
    _split(part, view, reading, keep_unlabelled) for part in (train, test)
  ]
  all_images = len(train.labels) + len(test.labels)
  return StreamedDataset(
    name=name,
    train=splits[0],
    test=splits[1],
    class_names=train.class_names,
    left_out=all_images - sum(map(len, splits)),
  )


def _open(
  name: str, data_dir: str | os.PathLike[str] | None
) -> tuple[Any, Any]:
  """Training and test part of a set: `files`, `labels`, `class_names` each."""
  kind, _, path = name.partition(':')
  if path and kind == 'coco':
    folder = pathlib.Path(path).expanduser()
    return read_coco(folder, 'train'), read_coco(folder, 'val')
  if name not in ('voc2007', 'coco2014'):
    known = ('voc2007', 'coco2014', 'coco:PATH')
    raise ValueError(unknown('multi-label set', name, known))

  from kdjax.data.tfds import files as tfds_files  # slow to import

  root = prepared.data_folder(data_dir)
  return tfds_files.open_splits(name, root)


def _split(
  part: Any, view: View, reading: Reading, keep_unlabelled: bool
) -> StreamedSplit:
  """The images of a part, or those of them that have a label."""
  rows = np.arange(len(part.labels))
  if not keep_unlabelled:
    rows = np.flatnonzero((part.labels != 0).any(1))
  return StreamedSplit(
    files=Chosen(part.files, rows),
    labels=part.labels[rows],
    view=view,
    reading=reading,
  )


@dataclasses.dataclass(frozen=True, eq=False)
class Chosen:
  """Some of a set's files.

  Attributes:
    files: All of them.
    rows: Which, in which order.
  """

  files: Files
  rows: np.ndarray

  def __len__(self) -> int:
    return len(self.rows)

  def read(self, index: int) -> bytes:
    """The file's contents."""
    return self.files.read(int(self.rows[index]))

  def name(self, index: int) -> str:
    """What messages call it."""
    return self.files.name(int(self.rows[index]))
