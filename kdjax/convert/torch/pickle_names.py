"""Names that the pickle of a PyTorch file may contain, and their replacements.

Nothing that a file names is imported or called: each name of the table is
replaced by a harmless function of this module.
"""

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from kdjax.messages import printable


class Storage(NamedTuple):
  """Numbers that several tensors may share.

  Attributes:
    key: Name of the storage in the file.
    dtype: Dtype of the numbers.
    size: How many there are.
  """

  key: str
  dtype: np.dtype
  size: int


class Tensor(NamedTuple):
  """View of a storage.

  Attributes:
    storage: The storage.
    offset: Index of the first number.
    shape: Shape of the tensor.
    strides: Numbers, not bytes, between neighbors along each axis.
  """

  storage: Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]


class Function(NamedTuple):
  """Function that a pickle may call.

  Attributes:
    name: Its name in the pickle.
    replacement: The function that is called instead.
  """

  name: str
  replacement: Callable[..., Any]


class StorageType(NamedTuple):
  """Class of a storage.

  Attributes:
    dtype: Dtype of its numbers.
  """

  dtype: np.dtype


_MAX_DIMENSIONS = 64  # as many as NumPy supports
# Size of a tensor that may repeat the numbers of a smaller storage.
_MAX_REPEATED = 1 << 24


def expect(value: Any, kind: type) -> Any:
  """Checks the class of a value.

  Args:
    value: Any value of a pickle.
    kind: Its expected class; subclasses are refused.

  Returns:
    The value.

  Raises:
    ValueError: If it is of another class.
  """
  if type(value) is not kind:
    raise ValueError(
      f'an instruction needs a {kind.__name__}, got a {type(value).__name__}'
    )
  return value


def as_key(value: Any) -> Any:
  """Checks that a value may be a key of a dict or a member of a set.

  Args:
    value: Any value of a pickle.

  Returns:
    The value.

  Raises:
    ValueError: If it is not a plain value.
  """
  # Hashing a deeply nested tuple would overflow the C stack.
  if value is not None and not isinstance(value, str | int | float | bytes):
    raise ValueError(f'a key is a {type(value).__name__}, not a plain value')
  return value


def as_dict(items: Any = ()) -> dict[Any, Any]:
  """Returns a dict after checking its keys.

  Args:
    items: Pairs, or another dict.

  Raises:
    ValueError: If a key is not a plain value.
  """
  pairs = items.items() if isinstance(items, dict) else items
  return {as_key(key): value for key, value in pairs}


def _set(items: Any = ()) -> set[Any]:
  return set(map(as_key, expect(items, list)))


def _encode(text: str, encoding: str = 'latin1') -> bytes:
  if encoding != 'latin1':  # that of bytes in pickles of Python 2
    raise ValueError(f'it encodes text by {encoding}; expected latin1')
  return expect(text, str).encode('latin1')


def _numpy_dtype(code: str, *_: Any) -> np.dtype:
  if not re.fullmatch(r'[biufc]\d+', expect(code, str)):
    raise ValueError(f'it has a NumPy value of the dtype {code[:20]!r}')
  return np.dtype(code).newbyteorder('<')


def _numpy_scalar(dtype: np.dtype, data: bytes) -> Any:
  if len(data) != dtype.itemsize:
    raise ValueError(f'a NumPy value of dtype {dtype} has {len(data)} bytes')
  return np.frombuffer(data, dtype)[0].item()


def _tensor(
  storage: Storage, offset: int, shape: tuple, strides: tuple, *_: Any
) -> Tensor:
  if not len(expect(shape, tuple)) == len(expect(strides, tuple)):
    raise ValueError(f'a tensor has {len(shape)} sizes, {len(strides)} strides')
  if len(shape) > _MAX_DIMENSIONS:
    raise ValueError(f'a tensor has {len(shape)} dimensions')
  for number in (offset, *shape, *strides):
    if type(number) is not int or not 0 <= number < 1 << 63:
      raise ValueError('a tensor has an invalid size, stride or offset')
  tensor = Tensor(expect(storage, Storage), offset, shape, strides)
  last = offset + sum((n - 1) * s for n, s in zip(shape, strides))
  count = math.prod(shape)
  if count and last >= storage.size:
    raise ValueError(
      f'a tensor of shape {shape} reaches beyond its storage of '
      f'{storage.size} numbers'
    )
  if count > max(storage.size, _MAX_REPEATED):
    raise ValueError(
      f'a tensor of shape {shape} repeats the {storage.size} numbers of its '
      'storage too often (possible memory bomb)'
    )
  return tensor


def lookup(name: str) -> Any:
  """Returns the replacement of a name.

  Args:
    name: Module and attribute, joined by a dot.

  Returns:
    A `StorageType`, a `Function`, or the name itself for types that are not
    called.

  Raises:
    ValueError: If the name is not in the table.
  """
  if name in _STORAGES:
    return StorageType(_STORAGES[name])
  if name in _TYPES:
    return name
  if name not in _FUNCTIONS:
    raise ValueError(
      f'it names {printable(name)}, which is neither a tensor nor a plain '
      'container; it was not executed. Save the state dict alone: '
      'torch.save(model.state_dict(), FILE)'
    )
  return Function(name, _FUNCTIONS[name])


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
# Types that are not called: dtypes, and the factories of a `defaultdict`.
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
_FUNCTIONS: dict[str, Callable[..., Any]] = {
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
  'torch.device': lambda *arguments: arguments,
  'torch._utils._rebuild_tensor': _tensor,
  'torch._utils._rebuild_tensor_v2': _tensor,
  'torch._utils._rebuild_parameter': lambda data, *_: expect(data, Tensor),
  'torch._utils._rebuild_parameter_with_state': (
    lambda data, *_: expect(data, Tensor)
  ),
}
