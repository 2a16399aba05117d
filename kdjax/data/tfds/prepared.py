"""Datasets prepared by TFDS: their folders, and their images as arrays."""

import os
import pathlib
import re

from kdjax.data.errors import DataUnavailableError
from kdjax.data.images import Size
from kdjax.data.tfds import cache
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
  names_file = folder / 'label.labels.txt'
  names = names_file.read_text().splitlines() if names_file.exists() else []
  suffix = '' if size is None else f'_{size[0]}x{size[1]}'
  cache_folder = folder / f'{cache.FOLDER}{suffix}'
  arrays = cache.read(cache_folder)
  if arrays is None:
    from kdjax.data.tfds import decode  # imports TFDS

    try:
      arrays = decode.decode(folder, size)
    except (OSError, RuntimeError, ValueError) as error:
      raise DataUnavailableError(
        f'the dataset prepared in {folder} cannot be read: {error}\n'
        'Delete that folder and run again to prepare it anew, or give '
        '--data_dir=FOLDER where it is prepared.'
      ) from None
    cache.write(cache_folder, arrays)
  return arrays, tuple(names)
