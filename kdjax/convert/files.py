"""Reads weight files and folders of all supported formats.

The format is detected from the content, not from the name.
"""

import os
import pathlib

import jax
import numpy as np
import orbax.checkpoint as ocp

from kdjax.convert import safetensors_files
from kdjax.convert.torch import files as torch_files
from kdjax.convert.torch import pickles
from kdjax.messages import first_line
from kdjax.paths import local_path
from kdjax.runtime import array_hashes, npz
from kdjax.runtime.named_arrays import leaves_by_name
from kdjax.runtime.orbax_folders import check_readable

_FORMATS = 'safetensors, .npz, a PyTorch file, a run folder or an orbax folder'


def read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
  """Reads the arrays of a file or folder under their names there.

  Args:
    path: A safetensors file; an `.npz` file; a PyTorch file of a state dict,
      zip or legacy, which is read without PyTorch and without executing any of
      it; a run folder (its `student/` is read); or an orbax folder, whose names
      are the paths joined by `/`.

  Returns:
    Arrays by name.

  Raises:
    ValueError: If there is no such file, or if it is damaged, of another
      format, or contains more than arrays and plain containers; says what.

  Examples:
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from kdjax import convert
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / 'weights.npz'
    ...   np.savez(path, kernel=np.ones((3, 2), np.float32))
    ...   arrays = convert.read(path)
    >>> {name: array.shape for name, array in arrays.items()}
    {'kernel': (3, 2)}
  """
  path = local_path(path)
  if not path.exists():
    raise ValueError(f'{path} does not exist.')
  if not path.is_dir() and not path.is_file():  # a pipe could wait for ever
    raise ValueError(f'{path} is neither a regular file nor a folder.')
  try:
    return _read_folder(path) if path.is_dir() else _read_file(path)
  except Exception as error:  # damaged files cause errors of many classes
    if type(error) in (ValueError, array_hashes.DamagedError):
      reason = first_line(error, longest=None)
      raise ValueError(f'{path} cannot be read: {reason}.') from None
    raise ValueError(
      f'{path} cannot be read; it is damaged or of another format '
      f'({type(error).__name__}: {first_line(error)}).'
    ) from error


def _read_file(path: pathlib.Path) -> dict[str, np.ndarray]:
  with path.open('rb') as file:
    start = file.read(16)
  if start.startswith(b'PK'):
    return _read_zip(path)
  if safetensors_files.starts_like_one(start):
    return safetensors_files.read(path)
  if start.startswith(b'\x80'):  # a pickle of protocol 2 or later
    return torch_files.read_legacy(path.read_bytes())
  if start.startswith(b'\x93NUMPY'):
    raise ValueError(
      'it is a single .npy array; expected an .npz file, which names its arrays'
    )
  with path.open('rb') as file:
    older = pickles.is_pickle(file)
  if older:  # protocols 0 and 1 have no magic number
    return torch_files.read_legacy(path.read_bytes())
  raise ValueError(f'its format is not one of {_FORMATS}')


def _read_zip(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Reads a PyTorch archive or an `.npz` file, which are both zip archives."""
  with path.open('rb') as file, npz.open_archive(file) as archive:
    names = archive.namelist()
    if any(pathlib.PurePosixPath(name).name == 'data.pkl' for name in names):
      return torch_files.read_zip(archive)
    arrays = npz.array_names(archive)
    if arrays:
      return {name: npz.read_array(archive, name) for name in arrays}
  raise ValueError(
    'it is a zip archive, but neither a PyTorch file nor an .npz'
  )


def _read_folder(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Reads an orbax folder, or the one inside a run folder."""
  own = (path / 'student').is_dir()
  if own:
    path = path / 'student'
  if not (path / '_METADATA').exists():
    raise ValueError('it is neither a run folder nor an orbax folder')
  check_readable(path)
  with ocp.PyTreeCheckpointer() as reader:
    metadata = reader.metadata(path.absolute()).item_metadata.tree
    as_numpy = jax.tree.map(
      lambda _: ocp.RestoreArgs(restore_type=np.ndarray), metadata
    )
    tree = reader.restore(path.absolute(), restore_args=as_numpy)
  hashes = array_hashes.stored_hashes(path.absolute())
  if hashes is not None:
    array_hashes.check(tree, hashes)
  elif own:
    raise array_hashes.DamagedError(f'{path} has lost its hashes')
  return leaves_by_name(tree)
