"""Safetensors files, whose header is checked before any array is read.

A file consists of the header's length (8 bytes), the header (JSON: dtype, shape
and offsets of every array) and the bytes of the arrays.
"""

import collections
import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors.numpy

from kdjax.messages import printable
from kdjax.runtime.temporary import replacing

_ITEM_SIZES = {
  **{'F64': 8, 'F32': 4, 'F16': 2, 'BF16': 2, 'BOOL': 1},
  **{'I64': 8, 'I32': 4, 'I16': 2, 'I8': 1},
  **{'U64': 8, 'U32': 4, 'U16': 2, 'U8': 1},
}
_MAX_DIMENSIONS = 64  # NumPy's limit
_MAX_HEADER = 100_000_000  # bytes; the library's own limit


def read(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Reads the arrays of a file.

  Args:
    path: The file.

  Returns:
    Arrays by name.

  Raises:
    ValueError: If the header does not describe the file; says where.
  """
  _check(header(path), path.stat().st_size - 8 - _header_size(path))
  return safetensors.numpy.load_file(path)


def metadata(path: pathlib.Path) -> dict[str, str]:
  """Reads the metadata of a file.

  Args:
    path: The file.

  Returns:
    Strings by name; empty if the file has no metadata.

  Raises:
    ValueError: If the header cannot be read, or if its metadata does not map
      names to strings.
  """
  entries = header(path).get('__metadata__')
  if entries is None:
    return {}
  if not isinstance(entries, dict) or not all(
    isinstance(text, str) for text in entries.values()
  ):
    raise ValueError('its __metadata__ does not map names to strings')
  return entries


def write(
  path: pathlib.Path,
  arrays: Mapping[str, np.ndarray],
  about: Mapping[str, str],
) -> None:
  """Writes a file atomically.

  Args:
    path: The file; replaced if it exists.
    arrays: Arrays by name.
    about: Metadata.
  """
  contiguous = {
    name: np.ascontiguousarray(array).reshape(array.shape)
    for name, array in arrays.items()
  }
  with replacing(path) as temporary:
    safetensors.numpy.save_file(contiguous, temporary, dict(about))


def starts_like_one(start: bytes) -> bool:
  """Returns whether a file starts as a safetensors file does.

  Args:
    start: At least 9 bytes.
  """
  # A pickle may have a brace at the same position. As a safetensors file, its
  # header would be far too long.
  pickled = start.startswith(b'\x80') and any(start[4:8])
  return start[8:9] == b'{' and not pickled


def header(path: pathlib.Path) -> dict[str, Any]:
  """Reads the header of a file.

  Args:
    path: The file.

  Returns:
    Entries of the arrays by name, unchecked, and `__metadata__`.

  Raises:
    ValueError: If it is longer than the file, not JSON, or has a key twice.
  """
  length, size = _header_size(path), path.stat().st_size
  if length > min(size - 8, _MAX_HEADER):
    raise ValueError(
      f'its header declares {length} bytes, but the file has {size}'
    )
  with path.open('rb') as file:
    file.seek(8)
    try:
      entries = json.loads(file.read(length), object_pairs_hook=_unique)
    except (json.JSONDecodeError, UnicodeError, RecursionError) as error:
      raise ValueError(f'its header is not JSON ({error})') from None
  if not isinstance(entries, dict):
    raise ValueError('its header is not a JSON object')
  return entries


def _header_size(path: pathlib.Path) -> int:
  with path.open('rb') as file:
    return int.from_bytes(file.read(8), 'little')


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  """Returns a JSON object, whose keys must differ."""
  entries = dict(pairs)
  if len(entries) < len(pairs):
    names = collections.Counter(name for name, _ in pairs)
    (name, _), *_ = names.most_common(1)
    raise ValueError(f'its header contains {printable(name)} twice')
  return entries


def _check(entries: dict[str, Any], size: int) -> None:
  """Checks that the entries cover `size` bytes without gap or overlap."""
  spans = sorted(
    (*_span(printable(name), entry), printable(name))
    for name, entry in entries.items()
    if name != '__metadata__'
  )
  position = 0
  for start, stop, name in spans:
    if start != position:
      raise ValueError(f'{name} begins at byte {start}; expected {position}')
    position = stop
  if position != size:
    raise ValueError(
      f'its header describes {position} bytes of arrays, but {size} follow it'
    )


def _span(name: str, entry: Any) -> tuple[int, int]:
  """Checks one entry and returns the offsets of its bytes."""
  match entry:
    case {'dtype': str(dtype), 'shape': [*shape], 'data_offsets': [a, b]}:
      if len(shape) > _MAX_DIMENSIONS:
        raise ValueError(f'{name} has {len(shape)} dimensions')
      if not all(type(n) is int and 0 <= n < 1 << 63 for n in (*shape, a, b)):
        raise ValueError(f'{name} has an invalid size or offset')
    case _:
      raise ValueError(f'its header has no valid entry for {name}')
  if dtype not in _ITEM_SIZES:
    raise ValueError(f'{name} has the unsupported dtype {printable(dtype)}')
  expected = math.prod(shape) * _ITEM_SIZES[dtype]
  if b - a != expected:
    raise ValueError(
      f'{name} declares {dtype} {shape}, which is {expected} bytes, but its '
      f'offsets {a} to {b} span {b - a}'
    )
  return a, b
