"""PyTorch files, zip and legacy, read without PyTorch or executing any of them.

Since PyTorch 1.6, `torch.save` writes a zip archive with one pickle and one
member per storage. Before, it wrote several pickles and then the storages.
"""

import functools
import io
import pathlib
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kdjax.convert.torch import pickles
from kdjax.convert.torch.pickle_names import Storage, Tensor, expect
from kdjax.messages import printable

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
# Keys of state dicts in the files of training loops, by precedence.
_WRAPPERS = (
  *('model', 'state_dict', 'net', 'network', 'model_state_dict'),
  *('module', 'model_state', 'weights'),
  # Running averages of the weights, if the weights themselves are missing.
  *('state_dict_ema', 'model_ema', 'ema', 'ema_state_dict', 'ema_model'),
)
_ReadStorage = Callable[[Storage], bytes | memoryview]


def read_zip(archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
  """Reads the state dict of an open archive.

  Args:
    archive: Its names must be unique.

  Returns:
    Arrays by name.

  Raises:
    ValueError: See `read_legacy`.
  """
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
      raise ValueError(
        f'{printable(name)} is compressed; PyTorch does not compress'
      )
  order = f'{root}byteorder'
  if order in members and archive.read(order) != b'little':
    raise ValueError('it holds numbers in big-endian order')
  content = pickles.read(io.BytesIO(archive.read(f'{root}data.pkl')))
  state = _state_dict(content)

  def read_storage(storage: Storage) -> bytes:
    name = f'{root}data/{storage.key}'
    if name not in members:
      raise ValueError(f'storage {printable(storage.key)} is missing')
    _check_length(storage, members[name].file_size)
    return archive.read(name)

  return _arrays(state, read_storage)


def read_legacy(content: bytes) -> dict[str, np.ndarray]:
  """Reads the state dict of a file of the format before PyTorch 1.6.

  Args:
    content: A file that starts with a pickle.

  Returns:
    Arrays by name, which are views of `content`.

  Raises:
    ValueError: If it contains anything but tensors and plain containers, no
      state dict, or inconsistent sizes; says which.
  """
  file = io.BytesIO(content)
  if pickles.read(file) != _MAGIC:
    raise ValueError(
      'it is a plain pickle, which is not read: save weights with torch.save'
    )
  if pickles.read(file) != _PROTOCOL:
    raise ValueError('it does not start like a PyTorch file')
  system = pickles.read(file)
  if not (isinstance(system, dict) and system.get('little_endian')):
    raise ValueError('it holds numbers in big-endian order')
  storages: dict[str, Storage] = {}
  state = _state_dict(pickles.read(file, storages))
  spans: dict[str, tuple[int, int]] = {}
  for key in expect(pickles.read(file), list):
    if expect(key, str) not in storages:
      raise ValueError(f'storage {printable(key)} belongs to no tensor')
    size = int.from_bytes(file.read(8), 'little')
    spans[key] = (file.tell(), size * storages[key].dtype.itemsize)
    file.seek(sum(spans[key]))

  def read_storage(storage: Storage) -> memoryview:
    if storage.key not in spans:
      raise ValueError(f'storage {printable(storage.key)} is missing')
    start, length = spans[storage.key]
    _check_length(storage, length)
    data = memoryview(content)[start : start + length]
    if len(data) != length:
      raise ValueError('it ends in the middle of an array')
    return data

  return _arrays(state, read_storage)


def _check_length(storage: Storage, length: int) -> None:
  """Checks the length of a storage in bytes before it is read."""
  if length != storage.size * storage.dtype.itemsize:
    raise ValueError(
      f'storage {printable(storage.key)} declares {storage.size} '
      f'{storage.dtype} numbers, but has {length} bytes'
    )


def _arrays(
  state: Mapping[Any, Any], read_storage: _ReadStorage
) -> dict[str, np.ndarray]:
  """Returns the tensors of a state dict as views of their storages."""
  # No copies: many tensors may be views of one storage.
  read_storage = functools.cache(read_storage)
  return {
    str(name): _array(value, read_storage(value.storage))
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
  """Returns the state dict: `content`, or a dictionary inside of it.

  There may be tensors beside a wrapped state dict, such as the accuracy in
  RepDistiller's files.
  """
  state = _unwrapped(content, 3)
  if state is not None:
    return state
  kind = f'a {type(content).__name__}'
  if isinstance(content, dict):
    keys = ', '.join(printable(str(name)) for name in list(content)[:10])
    kind = f'a dict of {keys}'
  raise ValueError(
    f'expected one state dict, got {kind}. A state dict may be the whole file '
    f'or the value of one of {", ".join(_WRAPPERS)}'
  )


def _unwrapped(content: Any, depth: int) -> Mapping[Any, Any] | None:
  """Returns the state dict inside of at most `depth` wrappers."""
  if not isinstance(content, dict) or depth < 0:
    return None
  for name in _WRAPPERS:
    state = _unwrapped(content.get(name), depth - 1)
    if state is not None:
      return state
  if _holds_tensors(content):
    return content
  # Under another name, if it is the only state dict.
  states = [value for value in content.values() if _holds_tensors(value)]
  return states[0] if len(states) == 1 else None


def _holds_tensors(content: Any) -> bool:
  return isinstance(content, dict) and any(
    isinstance(value, Tensor) for value in content.values()
  )
