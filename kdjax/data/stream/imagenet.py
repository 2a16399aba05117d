"""Large sets with one class per image, streamed: ImageNet, and folders like it.

Training shows a random window of each image, brought to one size; the flip
follows on the device. Judging shows the middle, as published accuracies do.
"""

import os
import pathlib
from typing import Any

import numpy as np

from kdjax.data.augment import Augmentation
from kdjax.data.dataset import rows_per_class
from kdjax.data.folder import Listing, list_images
from kdjax.data.stream.image_files import ImageFiles
from kdjax.data.stream.multi_label import Chosen, StreamedDataset
from kdjax.data.stream.share import Files, Reading
from kdjax.data.stream.split import StreamedSplit
from kdjax.data.stream.views import CenterCrop, RandomResizedCrop
from kdjax.data.tfds import prepared
from kdjax.names import unknown

_READING = Reading()
_SHORTER = 256 / 224  # of the shorter side over the window, when judging


def load_imagenet(
  name: str = 'imagenet2012',
  *,
  size: int = 224,
  data_dir: str | os.PathLike[str] | None = None,
  reading: Reading = _READING,
  limit: int | None = None,
  limit_seed: int = 0,
) -> StreamedDataset:
  """A set with one class per image; its images stay where they are.

  Args:
    name: `imagenet2012`, read where TFDS prepared it as array_record and tested
      on its validation split; or `folder:PATH`, with images in
      `PATH/train/CLASS/` and `PATH/val/CLASS/` (or `test`).
    size: Height and width of what networks see; judged on the middle of images
      whose shorter side is 256/224 of it.
    data_dir: TFDS's folder of sets; `TFDS_DATA_DIR` or `~/tensorflow_datasets`
      if not given.
    reading: By how many processes, and what of images that do not decode.
    limit: Training images per class; all if not given.
    limit_seed: Which ones.

  Raises:
    ValueError: If there is no such set, or its parts do not fit each other.
    DataUnavailableError: (a ValueError) If it can be neither read nor prepared.
  """
  if size < 1:
    raise ValueError(f'image_size must be at least 1, got {size}.')
  kind, _, path = name.partition(':')
  if path and kind == 'folder':
    parts, classes = _read_folder(name, pathlib.Path(path).expanduser())
  elif name == 'imagenet2012':
    from kdjax.data.tfds import files as tfds_files  # slow to import

    root = prepared.data_folder(data_dir)
    found = tfds_files.open_splits(name, root)
    parts = [(part.files, part.labels) for part in found]
    classes = found[0].class_names
  else:
    known = ('imagenet2012', 'folder:PATH')
    raise ValueError(unknown('streamed set', name, known))
  train, test = parts
  if limit is not None:
    rows = rows_per_class(train[1], limit, limit_seed)
    train = Chosen(train[0], rows), train[1][rows]
  return _dataset(name, train, test, classes, size, reading)


def unread_imagenet(size: int = 224) -> StreamedDataset:
  """ImageNet's numbers of images and classes without the images.

  For steps that are timed on images made on the device.
  """
  train, test = (
    (Unread(count), np.zeros(count, np.int32)) for count in (1_281_167, 50_000)
  )
  classes = tuple(map(str, range(1000)))
  return _dataset('synthetic', train, test, classes, size, _READING)


class Unread:
  """Files that are counted and never read."""

  def __init__(self, count: int):
    self.count = count

  def __len__(self) -> int:
    return self.count

  def read(self, index: int) -> bytes:
    """Has nothing to read."""
    raise OSError(f'{self.name(index)} is only counted')

  def name(self, index: int) -> str:
    """What messages call it."""
    return f'image {index}'


def _dataset(
  name: str,
  train: tuple[Files, np.ndarray],
  test: tuple[Files, np.ndarray],
  classes: tuple[str, ...],
  size: int,
  reading: Reading,
) -> StreamedDataset:
  window = (size, size)
  common: dict[str, Any] = {
    'view': CenterCrop(window, round(size * _SHORTER)),
    'reading': reading,
  }
  varied = RandomResizedCrop(window)
  return StreamedDataset(
    name=name,
    train=StreamedSplit(
      files=train[0], labels=train[1], varied=varied, **common
    ),
    test=StreamedSplit(files=test[0], labels=test[1], **common),
    class_names=classes,
    augment=Augmentation(flip=True),
  )


def _read_folder(name: str, path: pathlib.Path) -> tuple[list, tuple[str, ...]]:
  listings = list_images(name, path)
  classes = tuple(listings[0])
  return [_labelled(each, classes) for each in listings], classes


def _labelled(
  found: Listing, classes: tuple[str, ...]
) -> tuple[ImageFiles, np.ndarray]:
  number = {label: place for place, label in enumerate(classes)}
  labels = [number[label] for label, paths in found.items() for _ in paths]
  files = ImageFiles.of(path for paths in found.values() for path in paths)
  return files, np.array(labels, np.int32)
