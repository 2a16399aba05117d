"""Datasets from arrays of images and class indices."""

import warnings

import numpy as np

from kdjax.data.augment import Augmentation
from kdjax.data.dataset import Dataset
from kdjax.data.labels import check_class_indices
from kdjax.data.split import Split
from kdjax.messages import first_few

_CHUNK = 256  # images


def from_arrays(
  name: str,
  x_train: np.ndarray,
  y_train: np.ndarray,
  x_test: np.ndarray,
  y_test: np.ndarray,
  *,
  class_names: tuple[str, ...] = (),
) -> Dataset:
  """Makes a dataset of arrays.

  Images are normalized by the mean and standard deviation of the training
  images. Training images are cropped from a zero padding of an eighth of their
  height; color images are also flipped (gray ones often show characters).

  Args:
    name: Name of the dataset, also for messages.
    x_train: Training images, uint8 `[N, H, W, C]` or `[N, H, W]`.
    y_train: Class indices, integers `[N]` or `[N, 1]`.
    x_test: Test images, like `x_train`.
    y_test: Class indices, like `y_train`.
    class_names: One name per class (default: the numbers up to the largest
      training label, if at least half of them occur; a warning names those
      that do not).

  Returns:
    The dataset.

  Raises:
    ValueError: If an array has another shape or dtype, if labels are not class
      indices, are all the same, or leave most classes without an image.

  Examples:
    >>> import numpy as np
    >>> from kdjax import data
    >>> images = np.zeros((6, 32, 32, 3), np.uint8)
    >>> labels = np.array([0, 1, 2, 0, 1, 2])
    >>> toy = data.from_arrays('toy', images, labels, images[:3], labels[:3])
    >>> toy.num_classes, toy.image_shape
    (3, (32, 32, 3))
    >>> toy.augment
    Augmentation(crop_padding=4, flip=True)
  """
  try:
    train, test = _split(x_train, y_train), _split(x_test, y_test)
    count = len(class_names) or _class_count(name, train.labels)
  except ValueError as error:
    raise ValueError(f'{name}: {error}') from None
  channels = train.images.shape[-1]
  mean, std = statistics(train.images)
  return Dataset(
    name=name,
    train=train,
    test=test,
    num_classes=count,
    class_names=class_names or tuple(map(str, range(count))),
    mean=mean,
    std=std,
    augment=Augmentation(
      crop_padding=train.images.shape[1] // 8, flip=channels == 3
    ),
  )


def _split(images: np.ndarray, labels: np.ndarray) -> Split:
  if images.ndim == 3:
    images = images[..., None]
  if labels.ndim == 2 and labels.shape[1] == 1:
    labels = labels[:, 0]
  if labels.dtype.kind in 'iu':
    low, high = int(labels.min(initial=0)), int(labels.max(initial=0))
    if low < 0 or high > np.iinfo(np.int32).max:
      raise ValueError(
        f'labels must be class indices from 0, got {low} to {high}.'
      )
    labels = labels.astype(np.int32)
  check_class_indices(labels)
  return Split(images, labels)


def _class_count(name: str, labels: np.ndarray) -> int:
  """Returns the number of classes up to the largest label."""
  present = np.unique(labels)
  count = int(present[-1]) + 1
  if 2 * len(present) < count:
    raise ValueError(
      f'the largest label is {count - 1:,}, which makes {count:,} classes, but '
      f'the {len(labels):,} training images have {len(present):,} different '
      f'labels ({first_few(present.tolist())}). Number the classes from 0 '
      'without gaps, or store their names in an array class_names.'
    )
  if len(present) < count:
    empty = np.setdiff1d(np.arange(count), present).tolist()
    warnings.warn(
      f'{name}: {len(empty)} of {count} classes have no training image: '
      f'{first_few(empty)}. Classes are numbered from 0.',
      stacklevel=5,
    )
  return count


def statistics(
  images: np.ndarray,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
  """Computes mean and standard deviation per channel, scaled to [0, 1].

  Args:
    images: uint8 `[N, H, W, C]`.

  Returns:
    Means and standard deviations of the C channels; the standard deviation of a
    constant channel is given as 1.
  """
  levels = np.arange(256) / 255
  mean, std = [], []
  for counts in _histograms(images):
    frequencies = counts / counts.sum()
    mean.append(float(frequencies @ levels))
    variance = frequencies @ (levels - mean[-1]) ** 2
    std.append(float(np.sqrt(variance)) or 1.0)
  return tuple(mean), tuple(std)


def _histograms(images: np.ndarray) -> np.ndarray:
  """Counts the pixels of each level, `[C, 256]`.

  Computed in chunks, because NumPy widens each byte to eight and counts four
  times as fast what fits into the processor's cache.
  """
  counts = np.zeros((images.shape[-1], 256), np.int64)
  for start in range(0, len(images), _CHUNK):
    pixels = images[start : start + _CHUNK].reshape(-1, len(counts))
    for channel, total in enumerate(counts):
      total += np.bincount(pixels[:, channel], minlength=256)
  return counts
