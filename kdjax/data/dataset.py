"""A dataset in memory: two splits and what is needed to train on them."""

import dataclasses
import functools
import hashlib

import jax
import numpy as np

from kdjax.data.augment import Augmentation
from kdjax.data.labels import (
  check_class_indices,
  check_several_classes,
  named_arrays,
)
from kdjax.data.split import Split
from kdjax.typing import PyTree


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Dataset:
  """A training and a test split, and what is needed to train on them.

  Labels that are arrays `[N]` are class indices and are checked; the meaning of
  other labels (multi-label, boxes) is up to the task.

  Attributes:
    name: Name as given to `load`.
    train: Training images.
    test: Test images, of the same height, width and channels.
    num_classes: Number of classes; class indices are in `[0, num_classes)`.
    class_names: One name per class.
    mean: Per channel, of the images scaled to [0, 1]; networks subtract it.
    std: Standard deviation per channel, by which networks divide.
    augment: Augmentation of training batches.

  Raises:
    ValueError: If the parts do not match each other.
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
    self._check_labels()
    if len(self.class_names) != self.num_classes:
      raise ValueError(
        f'{self.name}: {len(self.class_names)} class names for '
        f'{self.num_classes} classes.'
      )
    check_several_classes(self.name, self.train.labels, self.class_names)
    if len(self.mean) != channels or len(self.std) != channels:
      raise ValueError(
        f'{self.name}: mean and std need {channels} values, one per channel, '
        f'got {len(self.mean)} and {len(self.std)}.'
      )
    if min(self.std) <= 0:
      raise ValueError(f'{self.name}: std must be positive, got {self.std}.')

  def _check_labels(self) -> None:
    structures = [jax.tree.structure(s.labels) for s in (self.train, self.test)]
    if structures[0] != structures[1]:
      raise ValueError(
        f'{self.name}: training labels are {structures[0]} but test labels '
        f'{structures[1]}.'
      )
    for which, split in (('training', self.train), ('test', self.test)):
      labels = split.labels
      if not isinstance(labels, np.ndarray) or labels.ndim != 1:
        continue
      check_class_indices(labels, f'{self.name}: {which} labels')
      low, high = int(labels.min()), int(labels.max())
      if low < 0 or high >= self.num_classes:
        raise ValueError(
          f'{self.name}: {which} labels must be in '
          f'[0, {self.num_classes - 1}] for {self.num_classes} classes, '
          f'got {low} to {high}.'
        )

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """Height, width and channels of one image."""
    return self.train.image_shape

  @functools.cached_property
  def fingerprint(self) -> str:
    """SHA-256 of all images, labels and class names, in hexadecimal."""
    arrays = []
    for split in (self.train, self.test):
      arrays += [split.images, *_label_arrays(split.labels)]
    return fingerprint(*arrays, _text('\n'.join(self.class_names)))


def fingerprint(*arrays: np.ndarray) -> str:
  """Returns the SHA-256 of dtypes, shapes and contents, in hexadecimal.

  Args:
    *arrays: Any arrays; their order counts.
  """
  digest = hashlib.sha256()
  for array in arrays:
    digest.update(f'{array.dtype.str}{array.shape}'.encode())
    digest.update(np.ascontiguousarray(array).data)
  return digest.hexdigest()


def _label_arrays(labels: PyTree) -> list[np.ndarray]:
  """Returns the arrays to fingerprint; those of a tree follow their path."""
  if isinstance(labels, np.ndarray):
    return [labels]
  named = named_arrays(labels)
  return [part for name, array in named for part in (_text(name), array)]


def _text(text: str) -> np.ndarray:
  # Names of folders need not be UTF-8.
  return np.array(text.encode(errors='surrogateescape'))
