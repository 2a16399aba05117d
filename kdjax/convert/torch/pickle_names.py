"""What the pickle of a PyTorch file may name, and what that means here.

Nothing of what a file names is imported or called: each name of the table has a
harmless function of our own in its place.
"""

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from kdjax.convert.messages import shown


class Storage(NamedTuple):
  """Where the numbers of some tensors lie: a key, their type, how many."""

  key: str
  dtype: np.dtype
  size: int


class Tensor(NamedTuple):
  """A view of a storage; `offset` and `strides` count numbers, not bytes."""

  storage: Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]


class Named(NamedTuple):
  """A name of the table, and what is called in its place."""

  name: str
  call: Callable[..., Any]


class StorageType(NamedTuple):
  """The type of the numbers of a storage."""

  dtype: np.dtype


# More dimensions than NumPy has; and how many numbers a tensor whose strides
# repeat them may have, where its storage has fewer.
_DIMENSIONS, _REPEATED = 64, 1 << 24


def expect(value: Any, kind: type) -> Any:
  """`value`, if it is of exactly that kind."""
  if type(value) is not kind:
    raise ValueError(
      f'an instruction needs a {kind.__name__}, got a {type(value).__name__}'
    )
  return value


def as_key(value: Any) -> Any:
  """`value`, if it may be a key or a member of a set."""
  # A tuple could be so deep that hashing it overflows the C stack.
  if value is not None and not isinstance(value, str | int | float | bytes):
    raise ValueError(f'a key is a {type(value).__name__}, not a plain value')
  return value


def as_dict(items: Any = ()) -> dict[Any, Any]:
  """A dict from pairs or another dict, its keys checked."""
  pairs = items.items() if isinstance(items, dict) else items
  return {as_key(key): value for key, value in pairs}


def _set(items: Any = ()) -> set[Any]:
  return set(map(as_key, expect(items, list)))


def _encode(text: str, encoding: str = 'latin1') -> bytes:
  if encoding != 'latin1':  # what Python 2 pickles bytes by; no other codec
    raise ValueError(f'it encodes text by {encoding}')
  return expect(text, str).encode('latin1')


def _numpy_dtype(code: str, *_: Any) -> np.dtype:
  if not re.fullmatch(r'[biufc]\d+', expect(code, str)):
    raise ValueError(f'it holds a NumPy value of type {code[:20]!r}')
  return np.dtype(code).newbyteorder('<')


def _numpy_scalar(dtype: np.dtype, data: bytes) -> Any:
  if len(data) != dtype.itemsize:
    raise ValueError(f'a NumPy {dtype} has {len(data)} bytes')
  return np.frombuffer(data, dtype)[0].item()


def _tensor(
  storage: Storage, offset: int, shape: tuple, strides: tuple, *_: Any
) -> Tensor:
  if not len(expect(shape, tuple)) == len(expect(strides, tuple)):
    raise ValueError(f'a tensor has {len(shape)} sizes, {len(strides)} strides')
  if len(shape) > _DIMENSIONS:
    raise ValueError(f'a tensor has {len(shape)} dimensions')
  for number in (offset, *shape, *strides):
    if type(number) is not int or not 0 <= number < 1 << 63:
      raise ValueError('a tensor has a size or stride that is not a count')
  tensor = Tensor(expect(storage, Storage), offset, shape, strides)
  last = offset + sum((n - 1) * s for n, s in zip(shape, strides))
  count = math.prod(shape)
  if count and last >= storage.size:
    raise ValueError(
      f'a tensor of shape {shape} reaches beyond its storage of '
      f'{storage.size} numbers'
    )
  if count > max(storage.size, _REPEATED):
    raise ValueError(
      f'a tensor of shape {shape} repeats the {storage.size} numbers of its '
      'storage too often'
    )
  return tensor


def named(name: str) -> Any:
  """What a name stands for.

  Raises:
    ValueError: If it is not one of the table; says which.
  """
  if name in _STORAGES:
    return StorageType(_STORAGES[name])
  if name in _TYPES:
    return name
  if name not in _CALLS:
    raise ValueError(
      f'it names {shown(name)}, which is no tensor and no plain container; '
      'nothing of it was run. Save the state dict alone: '
      'torch.save(model.state_dict(), FILE)'
    )
  return Named(name, _CALLS[name])


_DTYPES = {
  'Double': np.dtype('<f8'),
  'Float': np.dtype('<f4'),
  'Half': np.dtype('<f2'),
  'BFloat16': np.dtype(jnp.bfloat16),
  'Long': np.dtype('<i8'),
  'Int': np.dtype('<i4'),
  'Short': np.dtype('<i2'),
  'Char': np.dtype('i1'),
  'Byte': np.dtype('u1'),
  'Bool': np.dtype('bool'),
  'ComplexFloat': np.dtype('<c8'),
  'ComplexDouble': np.dtype('<c16'),
}
_STORAGES = {
  f'{module}.{name}Storage': dtype
  for module in ('torch', 'torch.cuda')
  for name, dtype in _DTYPES.items()
}
# Types that are named only: dtypes, and what fills a `defaultdict`.
_TYPES = frozenset(
  f'{module}.{name}'
  for modules, names in (
    (
      ('torch',),
      (
        *('float64', 'float32', 'float16', 'bfloat16'),
        *('int64', 'int32', 'int16', 'int8', 'uint8', 'bool'),
        *('complex64', 'complex128'),
      ),
    ),
    (('builtins', '__builtin__'), ('dict', 'list', 'int', 'float')),
  )
  for module in modules
  for name in names
)
_CALLS: dict[str, Callable[..., Any]] = {
  'collections.OrderedDict': as_dict,
  'collections.Counter': as_dict,
  'collections.defaultdict': lambda factory=None: {},
  '__builtin__.set': _set,
  '__builtin__.frozenset': _set,
  'builtins.set': _set,
  'builtins.frozenset': _set,
  '_codecs.encode': _encode,
  'numpy.dtype': _numpy_dtype,
  'numpy.core.multiarray.scalar': _numpy_scalar,
  'numpy._core.multiarray.scalar': _numpy_scalar,
  'torch.Size': lambda sizes=(): expect(sizes, tuple),
  'torch.device': lambda *place: place,
  'torch._utils._rebuild_tensor': _tensor,
  'torch._utils._rebuild_tensor_v2': _tensor,
  'torch._utils._rebuild_parameter': lambda data, *_: expect(data, Tensor),
  'torch._utils._rebuild_parameter_with_state': (
    lambda data, *_: expect(data, Tensor)
  ),
}
