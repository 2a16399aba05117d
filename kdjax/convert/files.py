"""A file or folder of weights to arrays by name, whatever its format.

The format is told by the content, not by the ending of the name.
"""

import io
import math
import os
import pathlib
import zipfile

import jax
import numpy as np
import orbax.checkpoint as ocp

from kdjax.convert import safetensors_files, torch_files
from kdjax.convert.orbax_folders import check_readable

_FORMATS = 'safetensors, .npz, a PyTorch file, a run folder or an orbax folder'


def read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
  """The arrays of a file or folder, under the names that they have there.

  Args:
    path: A safetensors file; an `.npz`; a PyTorch file of a state dict, zip or
      legacy, read without PyTorch and without running anything of it; a run
      folder (its `student/` is read) or an orbax folder, whose names are the
      paths joined by `/`.

  Raises:
    ValueError: If there is no such file, if it is damaged, of another format,
      or holds more than arrays and plain containers; says what.
  """
  path = pathlib.Path(path).expanduser()
  if not path.exists():
    raise ValueError(f'{path} does not exist.')
  try:
    return _read_folder(path) if path.is_dir() else _read_file(path)
  except ValueError as error:
    raise ValueError(f'{path} cannot be read: {error}.') from None
  except Exception as error:  # what damaged files lead the libraries to
    lines = str(error).splitlines() or ['']
    raise ValueError(
      f'{path} cannot be read; it is damaged or of another format '
      f'({type(error).__name__}: {lines[0][:200]}).'
    ) from error


def _read_file(path: pathlib.Path) -> dict[str, np.ndarray]:
  with path.open('rb') as file:
    start = file.read(16)
  if start.startswith(b'PK'):
    return _read_zip(path)
  if start.startswith(torch_files.LEGACY_START):
    return torch_files.read_legacy(io.BytesIO(path.read_bytes()))
  if safetensors_files.looks_so(path):
    return safetensors_files.read(path)
  if start.startswith(b'\x80'):
    raise ValueError('it is a plain pickle, which is not read')
  if start.startswith(b'\x93NUMPY'):
    raise ValueError('it is one .npy array; several by name make an .npz')
  raise ValueError(f'it is none of {_FORMATS}')


def _read_zip(path: pathlib.Path) -> dict[str, np.ndarray]:
  """A PyTorch archive or an `.npz`, both of which are zip files."""
  try:
    archive = zipfile.ZipFile(path)
  except zipfile.BadZipFile:
    raise ValueError(
      'it begins as a zip archive but is cut off or damaged'
    ) from None
  with archive:
    names = archive.namelist()
    if any(name.endswith('data.pkl') for name in names):
      return torch_files.read_zip(archive)
    if names and all(name.endswith('.npy') for name in names):
      return {
        info.filename.removesuffix('.npy'): _read_npy(archive, info)
        for info in archive.infolist()
      }
  raise ValueError(f'it is a zip archive, but none of {_FORMATS}')


def _read_npy(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
  """One array, after a look at whether there are as many bytes as it says."""
  with archive.open(info) as file:
    version = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0
    if version != (1, 0):
      header = np.lib.format.read_array_header_2_0
    shape, _, dtype = header(file)
    wanted, there = math.prod(shape) * dtype.itemsize, info.file_size
  if dtype.hasobject:
    raise ValueError(f'{info.filename} holds Python objects, not numbers')
  if wanted > there:
    raise ValueError(
      f'{info.filename} is said to be {dtype} {shape}, which is {wanted} '
      f'bytes, but has {there}'
    )
  with archive.open(info) as file:
    return np.lib.format.read_array(file, allow_pickle=False)


def _read_folder(path: pathlib.Path) -> dict[str, np.ndarray]:
  """An orbax folder, or the one inside a run folder."""
  if (path / 'student').is_dir():
    path = path / 'student'
  if not (path / '_METADATA').exists():
    raise ValueError('it is neither a run folder nor an orbax folder')
  check_readable(path)
  with ocp.PyTreeCheckpointer() as reader:
    found = reader.metadata(path.absolute()).item_metadata.tree
    as_numpy = jax.tree.map(
      lambda _: ocp.RestoreArgs(restore_type=np.ndarray), found
    )
    tree = reader.restore(path.absolute(), restore_args=as_numpy)
  leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): leaf
    for path, leaf in leaves
  }
