"""Reads .npz files of unknown origin, whose sizes are checked before use.

Errors say what is wrong with the archive, not which file it is: callers know
its name.
"""

import collections
import math
import os
import pathlib
import zipfile
from collections.abc import Collection
from typing import BinaryIO

import numpy as np

from kdjax.messages import first_line, printable
from kdjax.runtime.memory import check_fits

# An archive that unpacks to more bytes than `_ALWAYS_UNPACKED` may have this
# compression ratio at most: weights and photographs are hardly compressible.
_ALWAYS_UNPACKED, _MAX_RATIO = 1 << 28, 100
# What NumPy writes. Others may claim memory of their own for a dictionary.
_COMPRESSIONS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_ENCRYPTED = 1  # a bit of `ZipInfo.flag_bits`
_SUFFIX = '.npy'


def open_archive(file: BinaryIO) -> zipfile.ZipFile:
  """Opens a zip archive and checks what its directory says.

  Args:
    file: The archive, opened for reading; it stays open.

  Raises:
    ValueError: If it is damaged, a member is encrypted, compressed in another
      way than by deflation, there twice or outside of the archive, or if the
      sizes that it declares are not plausible.
  """
  size = file.seek(0, os.SEEK_END)
  file.seek(0)
  try:
    archive = zipfile.ZipFile(file)
  except Exception as error:  # damaged directories cause errors of many classes
    raise ValueError(
      'it starts like a zip archive but is truncated or damaged '
      f'({first_line(error)})'
    ) from None
  members = archive.infolist()
  _check_names(members)
  for info in members:
    _check_encoding(info)
  _check_sizes(members, size)
  return archive


def array_names(archive: zipfile.ZipFile) -> list[str]:
  """Returns the names of the arrays; empty if there are other members."""
  names = archive.namelist()
  if not all(name.endswith(_SUFFIX) for name in names):
    return []
  return [name.removesuffix(_SUFFIX) for name in names]


def read_array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
  """Reads one array after comparing its header with the number of bytes.

  Args:
    archive: What `open_archive` returned.
    name: Name of the array, one of `array_names`.

  Raises:
    ValueError: If it is damaged, or holds Python objects.
  """
  info = archive.getinfo(f'{name}{_SUFFIX}')
  try:
    _check_header(archive, info)
    with archive.open(info) as file:
      array = np.lib.format.read_array(file, allow_pickle=False)
      # The checksum is compared at the end of the member.
      if file.read(1):
        raise ValueError(f'{printable(info.filename)} has bytes after its end')
  except Exception as error:  # damaged members cause errors of many classes
    text = first_line(error)
    if printable(info.filename) not in text:
      text = f'{printable(info.filename)} is damaged ({text})'
    raise ValueError(text) from None
  return array


def read_arrays(
  file: BinaryIO, names: Collection[str] | None = None
) -> dict[str, np.ndarray]:
  """Reads arrays of an .npz file.

  Args:
    file: The file, opened for reading.
    names: Names of the arrays to read, where they exist (default: all).

  Returns:
    Arrays by name.

  Raises:
    ValueError: As `open_archive` and `read_array`, or if it is no .npz file.
  """
  with open_archive(file) as archive:
    stored = array_names(archive)
    if not stored:
      raise ValueError('it is a zip archive, but not an .npz')
    wanted = [name for name in stored if names is None or name in names]
    return {name: read_array(archive, name) for name in wanted}


def _check_names(members: list[zipfile.ZipInfo]) -> None:
  names = collections.Counter(info.filename for info in members)
  for name, count in names.items():
    if count > 1:
      raise ValueError(f'it contains {printable(name)} {count} times')
    path = pathlib.PurePosixPath(name.replace('\\', '/'))
    if path.is_absolute() or '..' in path.parts:
      raise ValueError(
        f'its member {printable(name)} is a path out of the archive'
      )


def _check_encoding(info: zipfile.ZipInfo) -> None:
  if info.flag_bits & _ENCRYPTED:
    raise ValueError(f'its member {printable(info.filename)} is encrypted')
  if info.compress_type not in _COMPRESSIONS:
    raise ValueError(
      f'its member {printable(info.filename)} is compressed by method '
      f'{info.compress_type}; expected 0 (stored) or 8 (deflated), as NumPy '
      'writes them'
    )


def _check_sizes(members: list[zipfile.ZipInfo], size: int) -> None:
  packed = sum(info.compress_size for info in members)
  if packed > size:
    raise ValueError(
      f'its members declare {packed} bytes in total, but the file has {size}'
    )
  unpacked = sum(info.file_size for info in members)
  if unpacked > max(_ALWAYS_UNPACKED, _MAX_RATIO * size):
    raise ValueError(
      f'its {size} bytes unpack to {unpacked} (possible memory bomb)'
    )
  check_fits(unpacked, 'its content')


def _check_header(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
  with archive.open(info) as file:
    version = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0
    if version != (1, 0):
      header = np.lib.format.read_array_header_2_0
    shape, _, dtype = header(file)
  name = printable(info.filename)
  if dtype.hasobject:
    raise ValueError(f'{name} holds Python objects, not numbers')
  # NumPy gives text without characters one byte after all.
  expected = math.prod(shape) * max(dtype.itemsize, 1)
  if expected > info.file_size:
    raise ValueError(
      f'{name} declares {dtype} {shape}, which is {expected} bytes, but has '
      f'{info.file_size}'
    )
