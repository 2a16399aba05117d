"""The real CIFAR images of the shared data, without TFDS.

This command writes them for benchmarks and result runs:

    python -m tests.cifar cifar100 FILE.npz   # for --dataset=npz:FILE.npz
"""

import dataclasses
import pathlib
import sys

import numpy as np
from PIL import Image

from kdjax.data import Dataset, Split
from kdjax.data.load import RECIPES
from tests.shared import SHARED


def tiles(path: pathlib.Path) -> np.ndarray:
  """Splits a mosaic into its 32x32 images: uint8 `[N, 32, 32, 3]`."""
  with Image.open(path) as image:
    mosaic = np.asarray(image.convert('RGB'))
  rows, columns = mosaic.shape[0] // 32, mosaic.shape[1] // 32
  grid = mosaic.reshape(rows, 32, columns, 32, 3).swapaxes(1, 2)
  return grid.reshape(-1, 32, 32, 3)


def cifar100() -> Dataset:
  """Returns CIFAR-100 in the official order."""
  return _dataset('cifar100', ('train_0', 'train_1'), 'train_labels')


def cifar10_first5000() -> Dataset:
  """Returns CIFAR-10's first 5,000 training images and all test images."""
  return _dataset('cifar10', ('train_first5000',), 'train_labels_first5000')


def _dataset(name: str, parts: tuple[str, ...], labels: str) -> Dataset:
  folder = SHARED / 'data' / name
  Image.MAX_IMAGE_PIXELS = None  # a mosaic is larger than Pillow expects
  with np.load(folder / 'labels.npz') as stored:
    train = Split(
      np.concatenate([tiles(folder / f'{part}.webp') for part in parts]),
      stored[labels].astype(np.int32),
    )
    test = Split(
      tiles(folder / 'test.webp'), stored['test_labels'].astype(np.int32)
    )
    class_names = tuple(map(str, stored['class_names']))
  return Dataset(
    name=name,
    train=train,
    test=test,
    class_names=class_names,
    **{
      field.name: getattr(RECIPES[name], field.name)
      for field in dataclasses.fields(RECIPES[name])
      if field.name != 'size'
    },
  )


def write_npz(dataset: Dataset, path: pathlib.Path) -> None:
  """Writes `dataset` as a file for `--dataset=npz:PATH`."""
  np.savez(
    path,
    x_train=dataset.train.images,
    y_train=dataset.train.labels,
    x_test=dataset.test.images,
    y_test=dataset.test.labels,
    class_names=np.array(dataset.class_names),
  )


if __name__ == '__main__':
  _makers = {'cifar100': cifar100, 'cifar10': cifar10_first5000}
  write_npz(_makers[sys.argv[1]](), pathlib.Path(sys.argv[2]))
