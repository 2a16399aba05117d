"""Safetensors files, their header checked before anything is read by it.

The file is the header's length (8 bytes), the header (JSON: dtype, shape and
place of every array) and the bytes of the arrays.
"""

import collections
import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors.numpy

from kdjax.convert.messages import shown

_ITEM_SIZES = {
  **{'F64': 8, 'F32': 4, 'F16': 2, 'BF16': 2, 'BOOL': 1},
  **{'I64': 8, 'I32': 4, 'I16': 2, 'I8': 1},
  **{'U64': 8, 'U32': 4, 'U16': 2, 'U8': 1},
}
_DIMENSIONS = 64  # NumPy's
_MAX_HEADER = 100_000_000  # bytes; the library's own limit


def read(path: pathlib.Path) -> dict[str, np.ndarray]:
  """The arrays of a file, by name.

  Raises:
    ValueError: If the header does not describe the file; says where.
  """
  _check(header(path), path.stat().st_size - 8 - _header_size(path))
  return safetensors.numpy.load_file(path)


def metadata(path: pathlib.Path) -> dict[str, str]:
  """What the file says about itself.

  Raises:
    ValueError: If that is not text by name, or the header cannot be read.
  """
  found = header(path).get('__metadata__')
  if found is None:
    return {}
  if not isinstance(found, dict) or not all(
    isinstance(text, str) for text in found.values()
  ):
    raise ValueError('its __metadata__ is not text by name')
  return found


def write(
  path: pathlib.Path,
  arrays: Mapping[str, np.ndarray],
  about: Mapping[str, str],
) -> None:
  """Writes a file whole or not at all."""
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(path.name + '.tmp')
  contiguous = {
    name: np.ascontiguousarray(array).reshape(array.shape)
    for name, array in arrays.items()
  }
  safetensors.numpy.save_file(contiguous, temporary, dict(about))
  temporary.replace(path)


def looks_so(start: bytes) -> bool:
  """Whether a file that starts like this begins as safetensors files do."""
  # A pickle may have a brace there too; the length of a header that it would
  # begin with is then far too large.
  pickled = start.startswith(b'\x80') and any(start[4:8])
  return start[8:9] == b'{' and not pickled


def header(path: pathlib.Path) -> dict[str, Any]:
  """The header of a file.

  Raises:
    ValueError: If it is longer than the file, not JSON, or describes something
      twice.
  """
  length, size = _header_size(path), path.stat().st_size
  if length > min(size - 8, _MAX_HEADER):
    raise ValueError(
      f'its header is said to have {length} bytes, but the file has {size}'
    )
  with path.open('rb') as file:
    file.seek(8)
    try:
      found = json.loads(file.read(length), object_pairs_hook=_unique)
    except (json.JSONDecodeError, UnicodeError, RecursionError) as error:
      raise ValueError(f'its header is not JSON ({error})') from None
  if not isinstance(found, dict):
    raise ValueError('its header is not a JSON object')
  return found


def _header_size(path: pathlib.Path) -> int:
  with path.open('rb') as file:
    return int.from_bytes(file.read(8), 'little')


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  """An object of the header, whose names must differ."""
  found = dict(pairs)
  if len(found) < len(pairs):
    names = collections.Counter(name for name, _ in pairs)
    (name, _), *_ = names.most_common(1)
    raise ValueError(f'its header describes {shown(name)} twice')
  return found


def _check(entries: dict[str, Any], size: int) -> None:
  """That the entries describe `size` bytes without gap or overlap."""
  places = []
  for key, entry in entries.items():
    if key == '__metadata__':
      continue
    name = shown(key)
    match entry:
      case {'dtype': str(dtype), 'shape': [*shape], 'data_offsets': [a, b]}:
        if len(shape) > _DIMENSIONS:
          raise ValueError(f'{name} has {len(shape)} dimensions')
        if not all(type(n) is int and 0 <= n < 1 << 63 for n in (*shape, a, b)):
          raise ValueError(f'{name} has a size or place that is not a count')
      case _:
        raise ValueError(f'its header does not describe {name}')
    if dtype not in _ITEM_SIZES:
      raise ValueError(
        f'{name} is of type {shown(dtype)}, which is not read here'
      )
    expected = math.prod(shape) * _ITEM_SIZES[dtype]
    if b - a != expected:
      raise ValueError(
        f'{name} is said to be {dtype} {shape}, which is {expected} bytes, '
        f'and to lie in bytes {a} to {b}, which is {b - a}'
      )
    places.append((a, b, name))
  end = 0
  for a, b, name in sorted(places):
    if a != end:
      raise ValueError(f'{name} begins at byte {a}; expected {end}')
    end = b
  if end != size:
    raise ValueError(
      f'its header describes {end} bytes of arrays, but {size} follow it'
    )
