"""Datasets prepared by TFDS: their folders, and their images as arrays."""

import json
import os
import pathlib
import re

from kdjax.data.errors import DataUnavailableError
from kdjax.data.images import Size
from kdjax.data.tfds import cache
from kdjax.messages import first_line
from kdjax.paths import local_path

_VERSION = re.compile(r'\d+\.\d+\.\d+')


def data_folder(
  data_dir: str | os.PathLike[str] | None = None,
) -> pathlib.Path:
  """Returns TFDS's folder of datasets.

  Args:
    data_dir: The folder (default: `TFDS_DATA_DIR`, or `~/tensorflow_datasets`).
  """
  if data_dir is None:
    data_dir = os.environ.get('TFDS_DATA_DIR') or '~/tensorflow_datasets'
  return local_path(data_dir)


def find(data_dir: pathlib.Path, path: str) -> pathlib.Path | None:
  """Returns the folder of the newest prepared version, or None.

  Args:
    data_dir: TFDS's folder of datasets.
    path: Folder of the dataset in it, `name` or `name/config`.
  """
  versions = [
    info.parent
    for info in (data_dir / path).glob('*/dataset_info.json')
    if _VERSION.fullmatch(info.parent.name)
  ]
  return max(versions, key=_version_of, default=None)


def _version_of(folder: pathlib.Path) -> tuple[int, ...]:
  return tuple(int(part) for part in folder.name.split('.'))


def find_or_prepare(data_dir: pathlib.Path, name: str) -> pathlib.Path:
  """Returns the folder of a prepared dataset; prepares the dataset if needed.

  Args:
    data_dir: TFDS's folder of datasets.
    name: A key of `kdjax.data.load.RECIPES`.

  Raises:
    DataUnavailableError: If it is not prepared and cannot be downloaded.
  """
  folder = find(data_dir, name) or find(data_dir, f'{name}/no_extra')
  if folder is None:
    # TFDS takes most of a second to import, and is needed only here.
    from kdjax.data.tfds import prepare

    folder = prepare.prepare(data_dir, name)
  return folder


def load_arrays(
  folder: pathlib.Path, size: Size | None = None
) -> tuple[cache.Arrays, tuple[str, ...]]:
  """Returns the images and labels of a prepared dataset, and its class names.

  Images are decoded, and resized if `size` is given, once; then they are read
  from the cache in `folder`.

  Args:
    folder: Folder of one version of a dataset, as `find` returns it.
    size: Height and width of the images (default: their own).

  Returns:
    `train_images`, `train_labels`, `test_images`, `test_labels`, in the order
    of the examples' `id`, which is that of the original files, or as stored if
    there is none; and the class names, empty if TFDS has none.

  Raises:
    DataUnavailableError: If the prepared files cannot be read.
  """
  names = _class_names(folder)
  suffix = '' if size is None else f'_{size[0]}x{size[1]}'
  cache_folder = folder / f'{cache.FOLDER}{suffix}'
  arrays = cache.read(cache_folder)
  if arrays is None:
    from kdjax.data.tfds import decode  # imports TFDS

    try:
      arrays = decode.decode(folder, size)
    except Exception as error:  # damaged files cause errors of many classes
      raise _unreadable(folder, first_line(error)) from None
    cache.write(cache_folder, arrays)
  return arrays, names


def _class_names(folder: pathlib.Path) -> tuple[str, ...]:
  """Returns class names, as many as the dataset is described to have.

  TFDS reads any number of them.
  """
  file = folder / 'label.labels.txt'
  try:
    lines = file.read_text().splitlines() if file.exists() else []
    names = [line for line in lines if line.strip()]
    count = _described_classes(folder)
  except (OSError, ValueError, RecursionError) as error:
    raise _unreadable(folder, first_line(error)) from None
  different = len(set(names))
  if names and not different == len(names) == (count or different):
    raise _unreadable(
      folder,
      f'{file.name} has {len(names)} lines with {different} different names, '
      f'expected {count or len(names)}',
    )
  return tuple(names)


def _described_classes(folder: pathlib.Path) -> int | None:
  """Returns the number of classes by TFDS's description; None if unset."""
  file = folder / 'features.json'
  if not file.exists():
    return None
  try:
    features = json.loads(file.read_bytes())['featuresDict']['features']
    return int(features['label']['classLabel']['numClasses'])
  except (KeyError, TypeError):
    return None


def _unreadable(folder: pathlib.Path, reason: str) -> DataUnavailableError:
  return DataUnavailableError(
    f'the dataset prepared in {folder} cannot be read: {reason}\n'
    'Delete that folder and run again to prepare it anew, or give '
    '--data_dir=FOLDER where it is prepared.'
  )
