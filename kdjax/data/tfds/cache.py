"""Decoded images as plain arrays on disk, so that a second start is instant."""

import json
import pathlib
import shutil
import tempfile
import warnings

import numpy as np

from kdjax.data.dataset import fingerprint

FOLDER = 'kdjax_arrays'  # inside the prepared set, so it goes when that goes
_PARTS = ('train_images', 'train_labels', 'test_images', 'test_labels')

Arrays = dict[str, np.ndarray]


def read(folder: pathlib.Path) -> Arrays | None:
  """The arrays that `write` left in `folder`, images memory-mapped.

  Returns:
    None where there are none, or where a file is truncated or altered: its
    contents are compared with the fingerprint taken when it was written.
  """
  try:
    stored = json.loads((folder / 'fingerprint.json').read_text())
    arrays = {
      part: np.load(folder / f'{part}.npy', mmap_mode='r') for part in _PARTS
    }
    intact = stored == fingerprint(*arrays.values())
  except (OSError, ValueError, EOFError):
    return None
  return arrays if intact else None


def write(folder: pathlib.Path, arrays: Arrays) -> None:
  """Puts arrays into `folder`, whole or not at all.

  They are written beside it and renamed. Where that is impossible (no
  permission, a full disk) a warning says so and nothing is left behind: the
  next run decodes again.
  """
  scratch = None
  try:
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = pathlib.Path(tempfile.mkdtemp(dir=folder.parent, prefix='.tmp-'))
    for part in _PARTS:
      np.save(scratch / f'{part}.npy', arrays[part])
    digest = fingerprint(*(arrays[part] for part in _PARTS))
    (scratch / 'fingerprint.json').write_text(json.dumps(digest))
    shutil.rmtree(folder, ignore_errors=True)
    scratch.rename(folder)
  except OSError as error:
    if read(folder) is None:  # else another process was faster
      warnings.warn(
        f'could not cache the decoded images in {folder} ({error}); they will '
        'be decoded again next time.',
        stacklevel=2,
      )
  finally:
    if scratch is not None:
      shutil.rmtree(scratch, ignore_errors=True)
