"""PyTorch files written without PyTorch, from pickle instructions."""

import io
import math
import pickle
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

_STORAGES = {'float32': 'Float', 'float16': 'Half', 'int64': 'Long'}
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


def value(item: Any) -> bytes:
  """Returns the instructions that push a plain value."""
  return pickle.dumps(item, 2)[2:-1]


def name(module: str, attribute: str) -> bytes:
  return f'c{module}\n{attribute}\n'.encode()


def call(function: bytes, *arguments: bytes) -> bytes:
  return function + b'(' + b''.join(arguments) + b'tR'


def tensor(
  array: np.ndarray,
  key: str,
  *,
  shape: tuple[int, ...] | None = None,
  strides: tuple[int, ...] | None = None,
  offset: int = 0,
  numbers: int | None = None,
  view: bytes = b'',
) -> bytes:
  """Returns the instructions that rebuild a tensor over storage `key`."""
  shape = array.shape if shape is None else shape
  if strides is None:
    strides = tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))
  storage = (
    b'('
    + value('storage')
    + name('torch', f'{_STORAGES[array.dtype.name]}Storage')
    + value(key)
    + value('cpu')
    + value(array.size if numbers is None else numbers)
    + view
    + b'tQ'
  )
  hooks = call(name('collections', 'OrderedDict'))
  return call(
    name('torch._utils', '_rebuild_tensor_v2'),
    *(storage, value(offset), value(shape), value(strides)),
    *(value(False), hooks),
  )


def mapping(entries: Mapping[str, bytes]) -> bytes:
  """Returns the instructions that push a dict of pushed values."""
  items = b''.join(value(key) + made for key, made in entries.items())
  return b'}(' + items + b'u'


def state_dict(arrays: Mapping[str, np.ndarray]) -> bytes:
  made = {}
  for key, (name_, array) in enumerate(arrays.items()):
    made[name_] = tensor(array, str(key))
  return mapping(made)


def program(instructions: bytes) -> bytes:
  return b'\x80\x02' + instructions + b'.'


def zipped(
  instructions: bytes, storages: Mapping[str, np.ndarray], **members: bytes
) -> bytes:
  """Returns a file in the zip format of PyTorch 1.6 and later."""
  file = io.BytesIO()
  with zipfile.ZipFile(file, 'w') as archive:
    archive.writestr('archive/data.pkl', program(instructions))
    archive.writestr('archive/byteorder', members.pop('byteorder', b'little'))
    for member, content in members.items():
      archive.writestr(f'archive/{member}', content)
    for key, array in storages.items():
      archive.writestr(f'archive/data/{key}', array.tobytes())
  return file.getvalue()


def legacy(
  instructions: bytes,
  storages: Mapping[str, np.ndarray],
  *,
  little_endian: bool = True,
) -> bytes:
  """Returns a file in the format of PyTorch before 1.6."""
  system = {'protocol_version': _PROTOCOL, 'little_endian': little_endian}
  heads = [value(_MAGIC), value(_PROTOCOL), value(system), instructions]
  parts = [program(part) for part in (*heads, value(list(storages)))]
  for array in storages.values():
    parts += [array.size.to_bytes(8, 'little'), array.tobytes()]
  return b''.join(parts)


def numbered(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Returns the storages of `state_dict` by key."""
  return {str(key): array for key, array in enumerate(arrays.values())}
