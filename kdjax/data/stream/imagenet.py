"""Large single-label datasets, streamed: ImageNet, and folders like it.

Training shows a random window of each image, resized; the flip follows on the
device. Evaluation shows the middle, as published accuracies are measured.
"""

import os

import numpy as np

from kdjax.data.augment import Augmentation
from kdjax.data.files import LabeledFiles
from kdjax.data.limit import rows_per_class
from kdjax.data.listing import list_folder
from kdjax.data.names import parse_name
from kdjax.data.stream.dataset import StreamedDataset
from kdjax.data.stream.reading import Reading
from kdjax.data.stream.split import StreamedSplit
from kdjax.data.stream.views import CenterCrop, RandomResizedCrop
from kdjax.data.tfds import prepared
from kdjax.names import unknown

_READING = Reading()
_SHORTER_SIDE = 256 / 224  # over the side of the window, in evaluation
_TRAIN_IMAGES, _TEST_IMAGES, _CLASSES = 1_281_167, 50_000, 1000  # ImageNet


def load_imagenet(
  name: str = 'imagenet2012',
  *,
  size: int = 224,
  data_dir: str | os.PathLike[str] | None = None,
  reading: Reading = _READING,
  limit: int | None = None,
  limit_seed: int = 0,
) -> StreamedDataset:
  """Opens a single-label dataset whose images stay on disk.

  Args:
    name: `imagenet2012`, prepared by TFDS as array_record and tested on its
      validation split; or `folder:PATH`, with images in `PATH/train/CLASS/` and
      `PATH/val/CLASS/` (or `test`).
    size: Height and width of the images that networks see; evaluation shows the
      middle of images whose shorter side is 256/224 of it.
    data_dir: TFDS's folder of datasets (default: `TFDS_DATA_DIR`, or
      `~/tensorflow_datasets`).
    reading: Numbers of processes and threads, and the treatment of images that
      cannot be decoded.
    limit: Training images per class (default: all).
    limit_seed: Seed of the choice of these images.

  Returns:
    The dataset.

  Raises:
    ValueError: If there is no such dataset, or its parts do not match.
    DataUnavailableError: (a ValueError) If it can be neither read nor prepared.
  """
  views = _views(size)
  kind, path = parse_name(name, ('folder',))
  if path is not None:
    train, test = list_folder(name, path)
  elif kind == 'imagenet2012':
    from kdjax.data.tfds import labeled  # slow to import

    train, test = labeled.open_splits(name, prepared.data_folder(data_dir))
  else:
    known = ('imagenet2012', 'folder:PATH')
    raise ValueError(unknown('streamed dataset', name, known))
  if limit is not None:
    train = train.take(rows_per_class(train.labels, limit, limit_seed))
  return _dataset(name, train, test, views, reading)


def unread_imagenet(size: int = 224) -> StreamedDataset:
  """Returns ImageNet's numbers of images and classes without the images.

  For timing steps on images that are made on the device.

  Args:
    size: Height and width of the images that networks see.
  """
  classes = tuple(map(str, range(_CLASSES)))
  train, test = (
    LabeledFiles(
      _CountedFiles(count), np.arange(count, dtype=np.int32) % _CLASSES, classes
    )
    for count in (_TRAIN_IMAGES, _TEST_IMAGES)
  )
  return _dataset('synthetic', train, test, _views(size), _READING)


class _CountedFiles:
  """Files that have a number but no contents."""

  def __init__(self, count: int):
    self.count = count

  def __len__(self) -> int:
    return self.count

  def read(self, index: int) -> bytes:
    """Raises `OSError`."""
    raise OSError(f'{self.name(index)} has no contents')

  def name(self, index: int) -> str:
    """Returns the name of an image."""
    return f'image {index}'


def _views(size: int) -> tuple[CenterCrop, RandomResizedCrop]:
  """Returns the views of `size` in evaluation and in training."""
  window = (size, size)
  evaluation = CenterCrop(window, round(size * _SHORTER_SIDE))
  return evaluation, RandomResizedCrop(window)


def _dataset(
  name: str,
  train: LabeledFiles,
  test: LabeledFiles,
  views: tuple[CenterCrop, RandomResizedCrop],
  reading: Reading,
) -> StreamedDataset:
  view, train_view = views
  return StreamedDataset(
    name=name,
    train=StreamedSplit(
      files=train.files,
      labels=train.labels,
      view=view,
      train_view=train_view,
      reading=reading,
    ),
    test=StreamedSplit(
      files=test.files, labels=test.labels, view=view, reading=reading
    ),
    class_names=train.class_names,
    augment=Augmentation(flip=True),
  )
