"""A labelled image set in memory, and its checks."""

import dataclasses
import functools
import hashlib

import numpy as np

from kdjax.data.augment import Augmentation

_ALIGNMENT = 64  # bytes


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
  """Images and their classes, row by row.

  Attributes:
    images: uint8 `[N, H, W, C]`, with C of 1 or 3. Where they do not begin at a
      multiple of 64 bytes they are copied to one, so that all devices of a CPU
      and all programs take the same memory; whoever gives some that do must
      leave them as they are.
    labels: int32 `[N]`.

  Raises:
    ValueError: If either has another shape or dtype, if there are none, or if
      there are not as many of one as of the other.
  """

  images: np.ndarray
  labels: np.ndarray

  def __post_init__(self):
    images, labels = self.images, self.labels
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
      raise ValueError(
        'images must be [N, height, width, channels] with 1 or 3 channels, '
        f'got shape {images.shape}.'
      )
    if images.dtype != np.uint8:
      raise ValueError(
        'images must be uint8 in [0, 255], got '
        f'{images.dtype}; scale and convert them first.'
      )
    if labels.ndim != 1 or labels.dtype != np.int32:
      raise ValueError(
        'labels must be int32 [N], one class number per image, got '
        f'{labels.dtype} of shape {labels.shape}.'
      )
    if len(images) != len(labels):
      raise ValueError(f'{len(images)} images but {len(labels)} labels.')
    if not images.size:
      raise ValueError(f'there are no images: shape {images.shape}.')
    object.__setattr__(self, 'images', aligned(images))

  def __len__(self) -> int:
    return len(self.labels)

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """Height, width and channels of one image."""
    return self.images.shape[1:]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Dataset:
  """A training and a test split, and what is needed to train on them.

  Attributes:
    name: As the command line gave it.
    train: Training images.
    test: Test images, of the same height, width and channels.
    num_classes: Labels are in `[0, num_classes)`.
    class_names: One per class.
    mean: Per channel, of the images scaled to [0, 1]; networks subtract it.
    std: Per channel; networks divide by it after that.
    augment: What is done to a training batch.

  Raises:
    ValueError: If the parts do not fit each other.
  """

  name: str
  train: Split
  test: Split
  num_classes: int
  class_names: tuple[str, ...]
  mean: tuple[float, ...]
  std: tuple[float, ...]
  augment: Augmentation

  def __post_init__(self):
    shape, channels = self.image_shape, self.image_shape[-1]
    if self.test.images.shape[1:] != shape:
      raise ValueError(
        f'{self.name}: training images are {shape} but test images '
        f'{self.test.images.shape[1:]}.'
      )
    for which, split in (('training', self.train), ('test', self.test)):
      low, high = int(split.labels.min()), int(split.labels.max())
      if low < 0 or high >= self.num_classes:
        raise ValueError(
          f'{self.name}: {which} labels must be in '
          f'[0, {self.num_classes - 1}] for {self.num_classes} classes, '
          f'got {low} to {high}.'
        )
    if len(self.class_names) != self.num_classes:
      raise ValueError(
        f'{self.name}: {len(self.class_names)} class names for '
        f'{self.num_classes} classes.'
      )
    if len(self.mean) != channels or len(self.std) != channels:
      raise ValueError(
        f'{self.name}: mean and std need {channels} values, one per channel, '
        f'got {len(self.mean)} and {len(self.std)}.'
      )
    if min(self.std) <= 0:
      raise ValueError(f'{self.name}: std must be positive, got {self.std}.')

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """Height, width and channels of one image."""
    return self.train.image_shape

  @functools.cached_property
  def fingerprint(self) -> str:
    """SHA-256 of all images, labels and class names, in hexadecimal."""
    names = np.array('\n'.join(self.class_names).encode())
    return fingerprint(
      self.train.images,
      self.train.labels,
      self.test.images,
      self.test.labels,
      names,
    )


def aligned(array: np.ndarray) -> np.ndarray:
  """The array where XLA's CPU client takes it without a copy; see `Split`."""
  if array.flags.c_contiguous and array.ctypes.data % _ALIGNMENT == 0:
    return array
  room = np.empty(array.nbytes + _ALIGNMENT, np.uint8)
  start = -room.ctypes.data % _ALIGNMENT
  found = room[start : start + array.nbytes].view(array.dtype)
  found = found.reshape(array.shape)
  found[...] = array
  return found


def fingerprint(*arrays: np.ndarray) -> str:
  """SHA-256 over dtypes, shapes and contents of arrays, in hexadecimal."""
  digest = hashlib.sha256()
  for array in arrays:
    digest.update(f'{array.dtype.str}{array.shape}'.encode())
    digest.update(np.ascontiguousarray(array).data)
  return digest.hexdigest()


def limit_per_class(split: Split, limit: int, seed: int = 0) -> Split:
  """At most `limit` images of each class, in the order of `split`.

  Which ones depends on `seed` alone, and those of a smaller limit are among
  those of a larger one, so that curves over the number of labels nest.

  Args:
    split: What to choose from.
    limit: Images per class, at least 1; a class that has fewer keeps all.
    seed: Of the choice.

  Raises:
    ValueError: If `limit` is below 1.
  """
  rows = rows_per_class(split.labels, limit, seed)
  return Split(split.images[rows], split.labels[rows])


def rows_per_class(labels: np.ndarray, limit: int, seed: int) -> np.ndarray:
  """The rows that `limit_per_class` keeps, ascending; labels int `[N]`."""
  if limit < 1:
    raise ValueError(
      f'limit is training images per class, at least 1, got {limit}.'
    )
  rank = np.random.default_rng(seed).random(len(labels))
  keep = []
  for label in np.unique(labels):
    members = np.flatnonzero(labels == label)
    keep.append(members[np.argsort(rank[members], kind='stable')[:limit]])
  return np.sort(np.concatenate(keep))
