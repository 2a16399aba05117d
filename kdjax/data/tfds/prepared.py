"""Sets prepared by TensorFlow Datasets: where they are, and their arrays."""

import os
import pathlib
import re

from kdjax.data.errors import DataUnavailableError
from kdjax.data.resize import Size
from kdjax.data.tfds import cache

_VERSION = re.compile(r'\d+\.\d+\.\d+')


def data_folder(
  data_dir: str | os.PathLike[str] | None = None,
) -> pathlib.Path:
  """Where TFDS keeps its sets: `TFDS_DATA_DIR`, or in the home folder.

  Args:
    data_dir: Another place for them, if one is given.
  """
  if data_dir is None:
    data_dir = os.environ.get('TFDS_DATA_DIR', '~/tensorflow_datasets')
  return pathlib.Path(data_dir).expanduser()


def find(data_dir: pathlib.Path, path: str) -> pathlib.Path | None:
  """The newest version of a set that is prepared, or None.

  Args:
    data_dir: The folder that holds all sets.
    path: The set's folder in it, `name` or `name/config`.
  """
  found = [
    info.parent
    for info in (data_dir / path).glob('*/dataset_info.json')
    if _VERSION.fullmatch(info.parent.name)
  ]
  return max(found, key=_version_of, default=None)


def _version_of(folder: pathlib.Path) -> tuple[int, ...]:
  return tuple(int(part) for part in folder.name.split('.'))


def find_or_prepare(data_dir: pathlib.Path, name: str) -> pathlib.Path:
  """The folder of a prepared set; downloads and prepares it where it is not.

  Args:
    data_dir: The folder that holds all sets.
    name: One of `kdjax.data.load.RECIPES`.

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
  """All images and labels of a prepared set, and the names of its classes.

  They are decoded, and resized if that is asked for, once; after that they come
  from the cache in `folder`.

  Args:
    folder: Of one version of one set, as `find` returns it.
    size: Height and width of the images; their own without.

  Returns:
    `train_images`, `train_labels`, `test_images`, `test_labels`, and the names.
    Where the examples carry an `id` they are in its order, which is that of the
    original files; otherwise as stored. Names are empty where TFDS has none.

  Raises:
    DataUnavailableError: If the prepared files cannot be read.
  """
  names_file = folder / 'label.labels.txt'
  names = names_file.read_text().splitlines() if names_file.exists() else []
  kept = cache.FOLDER if size is None else f'{cache.FOLDER}_{size[0]}x{size[1]}'
  arrays = cache.read(folder / kept)
  if arrays is None:
    from kdjax.data.tfds import decode

    try:
      arrays = decode.decode(folder, size)
    except (OSError, RuntimeError, ValueError) as error:
      raise DataUnavailableError(
        f'the data set prepared in {folder} cannot be read: {error}\n'
        'Delete that folder and run again to prepare it anew, or give '
        '--data_dir=FOLDER where it is prepared.'
      ) from None
    cache.write(folder / kept, arrays)
  return arrays, tuple(names)
