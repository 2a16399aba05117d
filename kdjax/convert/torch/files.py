"""PyTorch files, zip and legacy, read without PyTorch and without running them.

Since 1.6 `torch.save` writes a zip archive: one pickle, and the bytes of each
storage in a member of its own. Before it wrote pickles one after another, and
the storages behind them.
"""

import functools
import io
import pathlib
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kdjax.convert.messages import shown
from kdjax.convert.torch import pickles
from kdjax.convert.torch.pickle_names import Storage, Tensor, expect

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
# Under which names training loops keep a state dict; the first one holds.
_WRAPPERS = (
  *('model', 'state_dict', 'net', 'network', 'model_state_dict'),
  *('module', 'model_state', 'weights'),
  # Running averages of the weights, where the weights themselves are not there.
  *('state_dict_ema', 'model_ema', 'ema', 'ema_state_dict', 'ema_model'),
)
# Of a storage, the bytes.
_Bytes = Callable[[Storage], bytes | memoryview]


def read_zip(archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
  """The state dict of an opened archive; see `read_legacy`."""
  members = {info.filename: info for info in archive.infolist()}
  roots = [
    name.removesuffix('data.pkl')
    for name in members
    if pathlib.PurePosixPath(name).name == 'data.pkl'
  ]
  if len(roots) != 1:
    raise ValueError(f'it holds {len(roots)} pickles; PyTorch writes one')
  (root,) = roots
  if f'{root}constants.pkl' in members:
    raise ValueError(
      'it is a TorchScript program; save its state dict: '
      'torch.save(torch.jit.load(FILE).state_dict(), OTHER)'
    )
  for name, info in members.items():
    if info.compress_type != zipfile.ZIP_STORED:
      raise ValueError(f'{shown(name)} is compressed, which PyTorch never is')
  order = f'{root}byteorder'
  if order in members and archive.read(order) != b'little':
    raise ValueError('it holds numbers in big-endian order')
  content = pickles.read(io.BytesIO(archive.read(f'{root}data.pkl')))
  state = _state_dict(content)

  def stored(storage: Storage) -> bytes:
    name = f'{root}data/{storage.key}'
    if name not in members:
      raise ValueError(f'storage {shown(storage.key)} is missing')
    _check_length(storage, members[name].file_size)
    return archive.read(name)

  return _arrays(state, stored)


def read_legacy(content: bytes) -> dict[str, np.ndarray]:
  """The state dict of a file from before PyTorch 1.6, or written like one.

  Args:
    content: A file that begins with a pickle.

  Raises:
    ValueError: If it holds anything but tensors and plain containers, or no
      state dict, or sizes that do not fit; says which.
  """
  file = io.BytesIO(content)
  if pickles.read(file) != _MAGIC:
    raise ValueError('it is a plain pickle, which is not read')
  if pickles.read(file) != _PROTOCOL:
    raise ValueError('it does not begin as PyTorch files do')
  system = pickles.read(file)
  if not (isinstance(system, dict) and system.get('little_endian')):
    raise ValueError('it holds numbers in big-endian order')
  storages: dict[str, Storage] = {}
  state = _state_dict(pickles.read(file, storages))
  places: dict[str, tuple[int, int]] = {}
  for key in expect(pickles.read(file), list):
    if expect(key, str) not in storages:
      raise ValueError(f'storage {shown(key)} belongs to no tensor')
    size = int.from_bytes(file.read(8), 'little')
    places[key] = (file.tell(), size * storages[key].dtype.itemsize)
    file.seek(sum(places[key]))

  def stored(storage: Storage) -> memoryview:
    if storage.key not in places:
      raise ValueError(f'storage {shown(storage.key)} is missing')
    place, length = places[storage.key]
    _check_length(storage, length)
    data = memoryview(content)[place : place + length]
    if len(data) != length:
      raise ValueError('it ends in the middle of its numbers')
    return data

  return _arrays(state, stored)


def _check_length(storage: Storage, length: int) -> None:
  """That a storage is as long as the pickle says, before it is read."""
  if length != storage.size * storage.dtype.itemsize:
    raise ValueError(
      f'storage {shown(storage.key)} is said to hold {storage.size} '
      f'{storage.dtype} numbers, but has {length} bytes'
    )


def _arrays(state: Mapping[Any, Any], stored: _Bytes) -> dict[str, np.ndarray]:
  """The tensors of a state dict, as views of what is stored."""
  # No copies: many tensors may be views of one storage.
  stored = functools.cache(stored)
  return {
    str(name): _array(value, stored(value.storage))
    for name, value in state.items()
    if isinstance(value, Tensor)
  }


def _array(tensor: Tensor, data: bytes | memoryview) -> np.ndarray:
  dtype = tensor.storage.dtype
  return np.lib.stride_tricks.as_strided(
    np.frombuffer(data, dtype)[tensor.offset :],
    tensor.shape,
    [step * dtype.itemsize for step in tensor.strides],
    writeable=False,
  )


def _state_dict(content: Any) -> Mapping[Any, Any]:
  """What holds the tensors: `content`, or what is wrapped in it.

  Tensors may also lie beside a wrapped state dict: RepDistiller's accuracy is
  one.
  """
  found = _wrapped(content, 3)
  if found is not None:
    return found
  what = type(content).__name__
  if isinstance(content, dict):
    names = ', '.join(shown(str(name)) for name in list(content)[:10])
    what = f'entries {names}'
  raise ValueError(
    f'it holds no state dict, or several, but {what}. A state dict may be the '
    f'whole file or lie under one of {", ".join(_WRAPPERS)}'
  )


def _wrapped(content: Any, depth: int) -> Mapping[Any, Any] | None:
  """The state dict in `content`, at most so many wrappers deep."""
  if not isinstance(content, dict) or depth < 0:
    return None
  for name in _WRAPPERS:
    found = _wrapped(content.get(name), depth - 1)
    if found is not None:
      return found
  if _holds_tensors(content):
    return content
  # Under a name of the user's own, if there is but one.
  found = [value for value in content.values() if _holds_tensors(value)]
  return found[0] if len(found) == 1 else None


def _holds_tensors(content: Any) -> bool:
  return isinstance(content, dict) and any(
    isinstance(value, Tensor) for value in content.values()
  )
