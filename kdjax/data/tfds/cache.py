"""Decoded images as plain arrays on disk, so that they are decoded once."""

import json
import pathlib
import shutil
import tempfile
import warnings

import numpy as np

from kdjax.data.dataset import fingerprint

FOLDER = 'kdjax_arrays'  # in the prepared folder, deleted along with it
_PARTS = ('train_images', 'train_labels', 'test_images', 'test_labels')

Arrays = dict[str, np.ndarray]


def read(folder: pathlib.Path) -> Arrays | None:
  """Reads the arrays that `write` stored.

  Args:
    folder: Folder of the arrays.

  Returns:
    The memory-mapped arrays by name, or None if they do not exist or do not
    match the fingerprint that was stored with them.
  """
  try:
    stored = json.loads((folder / 'fingerprint.json').read_text())
    arrays = {
      part: np.load(folder / f'{part}.npy', mmap_mode='r') for part in _PARTS
    }
    intact = stored == fingerprint(*arrays.values())
  except Exception:  # damaged files cause errors of many classes
    return None
  return arrays if intact else None


def write(folder: pathlib.Path, arrays: Arrays) -> None:
  """Stores arrays, all of them or none.

  They are written to a temporary folder, which is renamed. If that fails (no
  permission, a full disk), a warning says so and nothing is left behind: the
  next run decodes again.

  Args:
    folder: Folder of the arrays, replaced if it exists.
    arrays: `train_images`, `train_labels`, `test_images` and `test_labels`.
  """
  temporary = None
  try:
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = pathlib.Path(
      tempfile.mkdtemp(dir=folder.parent, prefix='.tmp-')
    )
    for part in _PARTS:
      np.save(temporary / f'{part}.npy', arrays[part])
    digest = fingerprint(*(arrays[part] for part in _PARTS))
    (temporary / 'fingerprint.json').write_text(json.dumps(digest))
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)
  except OSError as error:
    if read(folder) is None:  # otherwise another process was faster
      warnings.warn(
        f'could not cache the decoded images in {folder} ({error}); they will '
        'be decoded again next time.',
        stacklevel=2,
      )
  finally:
    if temporary is not None:
      shutil.rmtree(temporary, ignore_errors=True)
