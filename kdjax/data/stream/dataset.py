"""A dataset of images that are decoded on demand."""

import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable

import jax
import numpy as np

from kdjax.data.color import ColorJitter
from kdjax.data.labels import check_several_classes, named_arrays
from kdjax.data.stream.split import StreamedSplit
from kdjax.typing import Batch

# Constants of ImageNet, with whose weights networks are initialized.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class StreamedDataset:
  """A streamed training and test split; `Dataset` is its kind in memory.

  Attributes:
    name: Name as given on the command line.
    train: Training images.
    test: Test images; multi-label entries below 0 are not evaluated.
    class_names: One name per class.
    mean: Per channel, of images in [0, 1]; networks subtract it.
    std: Standard deviation per channel, by which networks divide.
    augment: `(key, batch) -> batch` inside jit: replaces `image` uint8
      `[B, H, W, C]` by float32 in [0, 1].
    left_out: Number of images that are in neither split because they have no
      label.

  Raises:
    ValueError: If all training images are of one class.
  """

  name: str
  train: StreamedSplit
  test: StreamedSplit
  class_names: tuple[str, ...]
  mean: tuple[float, ...] = IMAGENET_MEAN
  std: tuple[float, ...] = IMAGENET_STD
  augment: Callable[[jax.Array, Batch], Batch] = ColorJitter()
  left_out: int = 0

  def __post_init__(self):
    check_several_classes(self.name, self.train.labels, self.class_names)

  @property
  def num_classes(self) -> int:
    """Number of classes."""
    return len(self.class_names)

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """Height, width and channels of one image."""
    return self.train.image_shape

  @functools.cached_property
  def fingerprint(self) -> str:
    """SHA-256 of views, class names, labels and file names, not of pixels."""
    views = (self.train.view, self.train.train_view, self.class_names)
    digest = hashlib.sha256(repr(views).encode())
    for split in (self.train, self.test):
      for path, array in named_arrays(split.labels):
        form = f'{path}{array.dtype.str}{array.shape}' if path else ''
        digest.update(form.encode())
        digest.update(np.ascontiguousarray(array).data)
      for row in range(len(split)):
        name = os.path.basename(split.files.name(row))
        digest.update(os.fsencode(name) + b'\n')
    return digest.hexdigest()
