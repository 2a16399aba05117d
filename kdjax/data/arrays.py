"""A user's own images as arrays, in memory or in an .npz file."""

import pathlib
import zipfile

import numpy as np

from kdjax.data.augment import Augmentation
from kdjax.data.dataset import Dataset, Split, aligned

_NPZ_NAMES = (
  ('x_train', 'y_train', 'x_test', 'y_test'),
  ('train_images', 'train_labels', 'test_images', 'test_labels'),
)

_AT_ONCE = 256  # images


def read_npz(name: str, path: pathlib.Path) -> Dataset:
  """Arrays `x_train`, `y_train`, `x_test`, `y_test` of an .npz file.

  Also taken: `train_images`, `train_labels`, `test_images`, `test_labels`.
  Images are uint8 `[N, H, W, C]` or `[N, H, W]` (grey); labels are integers
  `[N]` or `[N, 1]`. An optional `class_names` gives the classes; otherwise
  there are as many as the largest training label says.

  Args:
    name: For the result and messages.
    path: The file.

  Raises:
    ValueError: If the file cannot be read, or an array is missing or has
      another shape or dtype.
  """
  try:
    with path.open('rb') as file:
      # Pickled objects could run code, so they are refused.
      stored = np.load(file, allow_pickle=False)
      names = getattr(stored, 'files', ())
      # One by one, so that no two are in memory twice.
      arrays = {name: aligned(stored[name]) for name in names}
  except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
    raise ValueError(f'{name}: cannot read {path}: {error}') from None
  wanted = next((n for n in _NPZ_NAMES if set(n) <= arrays.keys()), None)
  if wanted is None:
    raise ValueError(
      f'{name}: {path} must hold {", ".join(_NPZ_NAMES[0])} (or '
      f'{", ".join(_NPZ_NAMES[1])}), got {", ".join(arrays) or "nothing"}.'
    )
  names = tuple(map(str, arrays.get('class_names', ())))
  return from_arrays(name, *(arrays[n] for n in wanted), class_names=names)


def from_arrays(
  name: str,
  x_train: np.ndarray,
  y_train: np.ndarray,
  x_test: np.ndarray,
  y_test: np.ndarray,
  *,
  class_names: tuple[str, ...] = (),
) -> Dataset:
  """A set from arrays, normalised by the statistics of its training images.

  Training images are cropped from a zero padding of an eighth of their height;
  those in colour are also mirrored (grey ones often are characters).

  Args:
    name: For the result and messages.
    x_train: uint8 `[N, H, W, C]` or `[N, H, W]`.
    y_train: Integers `[N]` or `[N, 1]`.
    x_test: As `x_train`.
    y_test: As `y_train`.
    class_names: One per class; numbers up to the largest training label if
      empty.

  Raises:
    ValueError: If shapes, dtypes or labels are others than these.
  """
  try:
    train, test = _split(x_train, y_train), _split(x_test, y_test)
  except ValueError as error:
    raise ValueError(f'{name}: {error}') from None
  count = len(class_names) or int(train.labels.max()) + 1
  channels = train.images.shape[-1]
  mean, std = _statistics(train.images)
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
        f'labels must count classes from 0, got {low} to {high}.'
      )
    labels = labels.astype(np.int32)
  return Split(images, labels)


def _statistics(
  images: np.ndarray,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
  """Mean and deviation per channel of images in [0, 1]; 1 where constant."""
  levels = np.arange(256) / 255
  mean, std = [], []
  for counts in _counts(images):
    share = counts / counts.sum()
    mean.append(float(share @ levels))
    std.append(float(np.sqrt(share @ (levels - mean[-1]) ** 2)) or 1.0)
  return tuple(mean), tuple(std)


def _counts(images: np.ndarray) -> np.ndarray:
  """How often each level is there, `[C, 256]`.

  Some images at a time: NumPy counts in eight bytes for each of a level's one,
  and what lies in the cache is counted four times as fast.
  """
  counts = np.zeros((images.shape[-1], 256), np.int64)
  for start in range(0, len(images), _AT_ONCE):
    pixels = images[start : start + _AT_ONCE].reshape(-1, len(counts))
    for channel, total in enumerate(counts):
      total += np.bincount(pixels[:, channel], minlength=256)
  return counts
