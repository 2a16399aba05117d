"""Datasets in memory by name: through TFDS, from a folder or from an .npz."""

import dataclasses
import os
import pathlib

from kdjax.data.arrays import from_arrays
from kdjax.data.channels import Channels, with_channels
from kdjax.data.dataset import Dataset
from kdjax.data.folder import read_folder
from kdjax.data.images import Size, resize_all
from kdjax.data.limit import limit_per_class
from kdjax.data.names import parse_name
from kdjax.data.npz import read_npz
from kdjax.data.recipes import RECIPES
from kdjax.data.split import Split
from kdjax.data.tfds import prepared
from kdjax.names import unknown


def load(
  name: str,
  *,
  data_dir: str | os.PathLike[str] | None = None,
  limit: int | None = None,
  limit_seed: int = 0,
  size: Size | None = None,
  channels: Channels | None = None,
) -> Dataset:
  """Loads a dataset, decoded, into memory.

  A dataset of TFDS is read where it is prepared, which does not need
  TensorFlow; if it is not prepared, it is downloaded and prepared as
  array_record. Its images are decoded once and cached in the prepared folder.

  Args:
    name: A key of `RECIPES`; or `folder:PATH`, with images in
      `PATH/train/CLASS/` and `PATH/test/CLASS/` (or `val`, `valid`,
      `validation`); or `npz:PATH`, with the arrays `x_train`, `y_train`,
      `x_test`, `y_test`. See `read_folder` and `read_npz`.
    data_dir: TFDS's folder of datasets (default: `TFDS_DATA_DIR`, or
      `~/tensorflow_datasets`).
    limit: Training images per class (default: all).
    limit_seed: Seed of the choice of these images.
    size: Height and width that all images are resized to (default: their own).
    channels: `rgb` or `gray`, which all images are converted to (default: their
      own).

  Returns:
    The dataset.

  Raises:
    ValueError: If there is no such dataset, or its parts do not match.
    DataUnavailableError: (a ValueError) If it can be neither read nor
      downloaded.

  Examples:
    >>> from kdjax import data
    >>> digits = data.load('digits')
    >>> digits.train.images.shape, digits.train.images.dtype
    ((1000, 8, 8, 1), dtype('uint8'))
    >>> digits.num_classes, len(digits.test)
    (10, 797)
    >>> len(data.load('digits', limit=5).train)
    50
  """
  kind, path = parse_name(name, ('folder', 'npz'))
  if path is None:
    if name not in RECIPES:
      known = (*RECIPES, 'folder:PATH', 'npz:PATH')
      raise ValueError(unknown('dataset', name, known))
    dataset = _from_tfds(name, prepared.data_folder(data_dir), size)
  elif kind == 'folder':
    dataset = read_folder(name, path, size, channels)
  else:
    dataset = _resized(read_npz(name, path), size)
  dataset = with_channels(dataset, channels)
  if limit is None:
    return dataset
  train = limit_per_class(dataset.train, limit, limit_seed)
  return dataclasses.replace(dataset, train=train)


def _from_tfds(name: str, data_dir: pathlib.Path, size: Size | None) -> Dataset:
  recipe = RECIPES[name]
  folder = prepared.find_or_prepare(data_dir, name)
  if size == (recipe.size, recipe.size):
    size = None  # so that their arrays are cached only once
  arrays, classes = prepared.load_arrays(folder, size)
  height = arrays['train_images'].shape[1]
  padding = recipe.augment.crop_padding * height // recipe.size
  return Dataset(
    name=name,
    train=Split(arrays['train_images'], arrays['train_labels']),
    test=Split(arrays['test_images'], arrays['test_labels']),
    num_classes=len(classes) or recipe.num_classes,
    class_names=classes or tuple(map(str, range(recipe.num_classes))),
    mean=recipe.mean,
    std=recipe.std,
    augment=dataclasses.replace(recipe.augment, crop_padding=padding),
  )


def _resized(dataset: Dataset, size: Size | None) -> Dataset:
  """Returns a dataset of arrays at another size, with new statistics."""
  if size is None or dataset.image_shape[:2] == size:
    return dataset
  train, test = dataset.train, dataset.test
  return from_arrays(
    dataset.name,
    resize_all(train.images, size),
    train.labels,
    resize_all(test.images, size),
    test.labels,
    class_names=dataset.class_names,
  )
