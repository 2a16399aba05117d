"""PyTorch files, zip and legacy, read without PyTorch and without running them.

Since 1.6 `torch.save` writes a zip archive: one pickle, and the bytes of each
storage in a member of its own. Before it wrote pickles one after another, and
the storages behind them.
"""

import functools
import io
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np

from kdjax.convert import pickles
from kdjax.convert.pickle_names import Storage, Tensor

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
# The legacy file's first pickle is this number.
LEGACY_START = b'\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.'
_WRAPPERS = (
  'model',
  'state_dict',
  'net',
  'network',
  'model_state_dict',
  'module',
  'model_state',
  'weights',
)
# Of a storage, the bytes.
_Bytes = Callable[[Storage], bytes]


def read_zip(archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
  """The state dict of an opened archive; see `read_legacy`."""
  members = {info.filename: info for info in archive.infolist()}
  root = next(n for n in members if n.endswith('data.pkl'))
  root = root.removesuffix('data.pkl')
  if f'{root}constants.pkl' in members:
    raise ValueError(
      'it is a TorchScript program; save its state dict: '
      'torch.save(torch.jit.load(FILE).state_dict(), OTHER)'
    )
  for info in members.values():
    if info.compress_type != zipfile.ZIP_STORED:
      raise ValueError(f'{info.filename} is compressed, which PyTorch never is')
  order = f'{root}byteorder'
  if order in members and archive.read(order) != b'little':
    raise ValueError('it holds numbers in big-endian order')
  content = pickles.read(io.BytesIO(archive.read(f'{root}data.pkl')))
  state = _state_dict(content)

  def stored(storage: Storage) -> bytes:
    name = f'{root}data/{storage.key}'
    if name not in members:
      raise ValueError(f'storage {storage.key} is missing')
    return archive.read(name)

  return _arrays(state, stored)


def read_legacy(file: BinaryIO) -> dict[str, np.ndarray]:
  """The state dict of a file from before PyTorch 1.6, or written like one.

  Raises:
    ValueError: If it holds anything but tensors and plain containers, or no
      state dict, or sizes that do not fit; says which.
  """
  if pickles.read(file) != _MAGIC or pickles.read(file) != _PROTOCOL:
    raise ValueError('it does not begin as PyTorch files do')
  system = pickles.read(file)
  if not (isinstance(system, dict) and system.get('little_endian')):
    raise ValueError('it holds numbers in big-endian order')
  storages: dict[str, Storage] = {}
  state = _state_dict(pickles.read(file, storages))
  places: dict[str, tuple[int, int]] = {}
  for key in pickles.read(file):
    if key not in storages:
      raise ValueError(f'storage {key} belongs to no tensor')
    size = int.from_bytes(_exactly(file, 8), 'little')
    places[key] = (file.tell(), size)
    file.seek(storages[key].dtype.itemsize * size, io.SEEK_CUR)

  def stored(storage: Storage) -> bytes:
    if storage.key not in places:
      raise ValueError(f'storage {storage.key} is missing')
    place, size = places[storage.key]
    if size != storage.size:
      raise ValueError(
        f'storage {storage.key} is said to hold {storage.size} numbers and '
        f'also {size}'
      )
    file.seek(place)
    return _exactly(file, size * storage.dtype.itemsize)

  return _arrays(state, stored)


def _exactly(file: BinaryIO, count: int) -> bytes:
  data = file.read(count)
  if len(data) != count:
    raise ValueError('it ends in the middle of its numbers')
  return data


def _arrays(state: Mapping[Any, Any], stored: _Bytes) -> dict[str, np.ndarray]:
  """The tensors of a state dict, with storages of their own."""
  # Neighbours often are views of one storage.
  stored = functools.lru_cache(maxsize=1)(stored)
  return {
    str(name): _array(str(name), value, stored(value.storage))
    for name, value in state.items()
    if isinstance(value, Tensor)
  }


def _array(name: str, tensor: Tensor, data: bytes) -> np.ndarray:
  storage = tensor.storage
  if len(data) != storage.size * storage.dtype.itemsize:
    raise ValueError(
      f'{name} needs a storage of {storage.size} {storage.dtype} numbers, but '
      f'it has {len(data)} bytes'
    )
  view = np.lib.stride_tricks.as_strided(
    np.frombuffer(data, storage.dtype)[tensor.offset :],
    tensor.shape,
    [step * storage.dtype.itemsize for step in tensor.strides],
  )
  return view.copy()


def _state_dict(content: Any) -> Mapping[Any, Any]:
  """What holds the tensors: `content`, or what is wrapped in it."""
  for _ in range(3):
    if not isinstance(content, dict):
      break
    if any(isinstance(value, Tensor) for value in content.values()):
      return content
    inner = [content[name] for name in _WRAPPERS if name in content]
    if not inner:
      break
    content = inner[0]
  found = type(content).__name__
  if isinstance(content, dict):
    found = f'entries {", ".join(map(str, list(content)[:10]))}'
  raise ValueError(
    f'it holds no state dict, but {found}. A state dict may be the whole file '
    f'or lie under one of {", ".join(_WRAPPERS)}'
  )
