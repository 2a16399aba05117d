"""A file or folder of weights to arrays by name, whatever its format.

The format is told by the content, not by the ending of the name.
"""

import collections
import math
import os
import pathlib
import zipfile

import jax
import numpy as np
import orbax.checkpoint as ocp

from kdjax.convert import safetensors_files
from kdjax.convert.messages import shown
from kdjax.convert.torch import files as torch_files
from kdjax.convert.torch import pickles
from kdjax.runtime.orbax_folders import check_readable

# An archive may unpack to more than `_SMALL` bytes if that is not more than so
# many times its size: weights are hardly compressible.
_SMALL, _DENSEST = 1 << 28, 100
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
  except Exception as error:  # what damaged files lead the libraries to as well
    lines = str(error).splitlines() or ['']
    if type(error) is ValueError:
      raise ValueError(f'{path} cannot be read: {lines[0]}.') from None
    raise ValueError(
      f'{path} cannot be read; it is damaged or of another format '
      f'({type(error).__name__}: {lines[0][:200]}).'
    ) from error


def _read_file(path: pathlib.Path) -> dict[str, np.ndarray]:
  with path.open('rb') as file:
    start = file.read(16)
  if start.startswith(b'PK'):
    return _read_zip(path)
  if safetensors_files.looks_so(start):
    return safetensors_files.read(path)
  if start.startswith(b'\x80'):  # a pickle of protocol 2 or later
    return torch_files.read_legacy(path.read_bytes())
  if start.startswith(b'\x93NUMPY'):
    raise ValueError('it is one .npy array; several by name make an .npz')
  with path.open('rb') as file:
    older = pickles.is_one(file)
  if older:  # of a protocol without a mark of its own
    return torch_files.read_legacy(path.read_bytes())
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
    _check_members(archive, path.stat().st_size)
    names = archive.namelist()
    if any(pathlib.PurePosixPath(name).name == 'data.pkl' for name in names):
      return torch_files.read_zip(archive)
    if names and all(name.endswith('.npy') for name in names):
      return {
        info.filename.removesuffix('.npy'): _read_npy(archive, info)
        for info in archive.infolist()
      }
  raise ValueError(f'it is a zip archive, but none of {_FORMATS}')


def _check_members(archive: zipfile.ZipFile, size: int) -> None:
  """That an archive holds each member once, and no more than it can hold."""
  members = archive.infolist()
  names = collections.Counter(info.filename for info in members)
  name, count = max(names.items(), key=lambda item: item[1], default=('', 0))
  if count > 1:
    raise ValueError(f'it holds {shown(name)} {count} times')
  packed = sum(info.compress_size for info in members)
  if packed > size:
    raise ValueError(
      f'its members are said to have {packed} bytes, but the file has {size}'
    )
  unpacked = sum(info.file_size for info in members)
  if unpacked > max(_SMALL, _DENSEST * size):
    raise ValueError(f'it unpacks to {unpacked} bytes, {size} of which it has')


def _read_npy(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
  """One array, after a look at whether there are as many bytes as it says."""
  with archive.open(info) as file:
    version = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0
    if version != (1, 0):
      header = np.lib.format.read_array_header_2_0
    shape, _, dtype = header(file)
    wanted, there = math.prod(shape) * dtype.itemsize, info.file_size
  name = shown(info.filename)
  if dtype.hasobject:
    raise ValueError(f'{name} holds Python objects, not numbers')
  if wanted > there:
    raise ValueError(
      f'{name} is said to be {dtype} {shape}, which is {wanted} bytes, but has '
      f'{there}'
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
