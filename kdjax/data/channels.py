"""Datasets in memory with the other number of channels."""

import dataclasses
from typing import Literal

import numpy as np
from PIL import Image

from kdjax.data.arrays import statistics
from kdjax.data.dataset import Dataset
from kdjax.data.split import Split

Channels = Literal['rgb', 'gray']

MODES: dict[Channels, str] = {'rgb': 'RGB', 'gray': 'L'}  # Pillow's
_COUNTS: dict[Channels, int] = {'rgb': 3, 'gray': 1}


def with_channels(dataset: Dataset, channels: Channels | None) -> Dataset:
  """Returns a dataset whose images are in color or gray.

  A gray level becomes three equal ones, with the same mean and standard
  deviation; a color becomes its luma by ITU-R 601, as Pillow computes it, and
  is normalized by the statistics of the training images.

  Args:
    dataset: The dataset.
    channels: `rgb` or `gray` (None: as they are).
  """
  if channels is None or dataset.image_shape[-1] == _COUNTS[channels]:
    return dataset
  train, test = (
    Split(_converted(split.images, channels), split.labels)
    for split in (dataset.train, dataset.test)
  )
  mean, std = 3 * dataset.mean, 3 * dataset.std
  if channels == 'gray':
    mean, std = statistics(train.images)
  return dataclasses.replace(
    dataset, train=train, test=test, mean=mean, std=std
  )


def _converted(images: np.ndarray, channels: Channels) -> np.ndarray:
  if channels == 'rgb':
    return np.repeat(images, 3, axis=-1)
  gray = np.empty((*images.shape[:-1], 1), np.uint8)
  for row, image in enumerate(images):
    gray[row, ..., 0] = np.asarray(Image.fromarray(image).convert('L'))
  return gray
