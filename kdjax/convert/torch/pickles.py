"""Reads the pickles of PyTorch files without executing any of them.

A pickle is a program for a stack machine, some of whose instructions call
functions that the file names. The machine here has only the instructions that
build plain containers, and the names of a short table; it refuses all others.
"""

import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from kdjax.convert.torch.pickle_names import (
  Function,
  Storage,
  StorageType,
  as_dict,
  as_key,
  expect,
  lookup,
)
from kdjax.messages import printable


def read(file: BinaryIO, storages: dict[str, Storage] | None = None) -> Any:
  """Reads one pickle from the current position of a file.

  Args:
    file: Its position is then that after the pickle.
    storages: Receives the storages of the pickle by key (default: they are not
      needed).

  Returns:
    Plain values, plain containers and `Tensor`s.

  Raises:
    ValueError: If the pickle names or does anything else, which is named.
    Exception: Errors of other classes that a damaged pickle causes; the caller
      knows the name of the file and adds it.
  """
  machine = _Machine({} if storages is None else storages)
  start = file.tell()
  for count, (opcode, argument, position) in enumerate(
    pickletools.genops(file)
  ):
    if count == _MAX_INSTRUCTIONS:
      raise ValueError(f'it has more than {_MAX_INSTRUCTIONS} instructions')
    machine.length = (position or start) - start
    machine.execute(opcode.name, argument)
  return machine.stack.pop()


def is_pickle(file: BinaryIO) -> bool:
  """Returns whether a complete pickle starts at the position of a file.

  Args:
    file: Its position is unchanged.
  """
  start = file.tell()
  try:
    for _ in pickletools.genops(file):
      pass
  except Exception:  # pickletools raises any error on other files
    return False
  finally:
    file.seek(start)
  return True


# An instruction of one byte may create a container of two hundred bytes. State
# dicts have some sixty instructions per tensor.
_MAX_INSTRUCTIONS = 5_000_000
_VALUES = frozenset(
  (
    *('BININT', 'BININT1', 'BININT2', 'INT', 'LONG', 'LONG1', 'LONG4'),
    *('FLOAT', 'BINFLOAT', 'STRING', 'BINSTRING', 'SHORT_BINSTRING'),
    *('UNICODE', 'BINUNICODE', 'SHORT_BINUNICODE', 'BINUNICODE8'),
    *('BINBYTES', 'SHORT_BINBYTES', 'BINBYTES8'),
  )
)
_NEW: dict[str, Callable[[], Any]] = {
  'NONE': lambda: None,
  'NEWTRUE': lambda: True,
  'NEWFALSE': lambda: False,
  'EMPTY_DICT': dict,
  'EMPTY_LIST': list,
  'EMPTY_SET': set,
  'EMPTY_TUPLE': tuple,
}
_FROM_MARK: dict[str, Callable[[list], Any]] = {
  'TUPLE': tuple,
  'LIST': list,
  'DICT': lambda items: as_dict(zip(items[::2], items[1::2])),
  'FROZENSET': lambda items: frozenset(map(as_key, items)),
}
_TUPLES = {'TUPLE1': 1, 'TUPLE2': 2, 'TUPLE3': 3}
_PUTS = ('PUT', 'BINPUT', 'LONG_BINPUT')
_GETS = ('GET', 'BINGET', 'LONG_BINGET')
_NO_EFFECT = ('PROTO', 'FRAME', 'STOP')
_COPIED = (str, bytes, tuple, list, dict, set, frozenset)


class _Machine:
  """Stack machine of a pickle.

  Args:
    storages: Receives the storages of the pickle by key.
  """

  def __init__(self, storages: dict[str, Storage]):
    self.storages = storages
    self.stack: list[Any] = []
    self.below: list[list[Any]] = []  # stacks below the marks
    self.memo: dict[int, Any] = {}
    self.length = 0  # bytes of the pickle so far
    self.copied = 0  # items that calls have copied so far

  def execute(self, name: str, argument: Any) -> None:
    """Executes one instruction."""
    if name in _VALUES:
      self.stack.append(argument)
    elif name in _NEW:
      self.stack.append(_NEW[name]())
    elif name in _FROM_MARK:
      items = self.to_mark()
      self.stack.append(_FROM_MARK[name](items))
    elif name in _TUPLES:
      items = [self.stack.pop() for _ in range(_TUPLES[name])]
      self.stack.append(tuple(reversed(items)))
    elif name in _PUTS:
      self.memo[argument] = self.stack[-1]
    elif name in _GETS:
      self.stack.append(self.memo[argument])
    elif hasattr(self, f'do_{name}'):
      getattr(self, f'do_{name}')(argument)
    elif name not in _NO_EFFECT:
      what = f'{name} {printable(argument)}' if type(argument) is str else name
      raise ValueError(f'it has the instruction {what}, which creates objects')

  def storage(self, storage: Storage) -> Storage:
    """Registers a storage, all references to which must agree."""
    known = self.storages.setdefault(storage.key, storage)
    if known != storage:
      raise ValueError(
        f'storage {printable(storage.key)} declares {known.size} '
        f'{known.dtype} numbers and also {storage.size} {storage.dtype}'
      )
    return known

  def to_mark(self) -> list[Any]:
    """Pops the last mark and everything above it."""
    items, self.stack = self.stack, self.below.pop()
    return items

  def do_MARK(self, _):
    self.below.append(self.stack)
    self.stack = []

  def do_POP(self, _):
    if self.stack:
      self.stack.pop()
    else:
      self.to_mark()

  def do_POP_MARK(self, _):
    self.to_mark()

  def do_DUP(self, _):
    self.stack.append(self.stack[-1])

  def do_MEMOIZE(self, _):
    self.memo[len(self.memo)] = self.stack[-1]

  def do_APPEND(self, _):
    item = self.stack.pop()
    expect(self.stack[-1], list).append(item)

  def do_APPENDS(self, _):
    items = self.to_mark()
    expect(self.stack[-1], list).extend(items)

  def do_ADDITEMS(self, _):
    items = self.to_mark()
    expect(self.stack[-1], set).update(map(as_key, items))

  def do_SETITEM(self, _):
    value, key = self.stack.pop(), self.stack.pop()
    expect(self.stack[-1], dict)[as_key(key)] = value

  def do_SETITEMS(self, _):
    items = self.to_mark()
    expect(self.stack[-1], dict).update(as_dict(zip(items[::2], items[1::2])))

  def do_GLOBAL(self, argument):
    self.stack.append(lookup('.'.join(argument.split(' '))))

  def do_STACK_GLOBAL(self, _):
    name, module = self.stack.pop(), self.stack.pop()
    self.stack.append(lookup(f'{expect(module, str)}.{expect(name, str)}'))

  def do_REDUCE(self, _):
    arguments = expect(self.stack.pop(), tuple)
    # A valid file contains everything that a call copies. A file that has one
    # large value copied many times would fill the memory.
    self.copied += sum(len(a) for a in arguments if type(a) in _COPIED)
    self.copied += len(arguments)
    if self.copied > self.length:
      raise ValueError(
        'its calls copy more data than the pickle contains (possible memory '
        'bomb)'
      )
    function = expect(self.stack.pop(), Function)
    self.stack.append(function.replacement(*arguments))

  def do_BUILD(self, _):
    state, target = self.stack.pop(), self.stack[-1]
    if isinstance(target, np.dtype):  # state[1] is its byte order
      if expect(state, tuple)[1] not in ('<', '|', '='):
        raise ValueError('it holds numbers in big-endian order')
    else:  # attributes of a state dict: versions of its modules
      expect(target, dict)

  def do_BINPERSID(self, _):
    match self.stack.pop():
      case ('storage', StorageType(dtype), str(key), _, int(size), *view):
        if view not in ([], [None]):
          raise ValueError(f'storage {printable(key)} is a view of another one')
        self.stack.append(self.storage(Storage(key, dtype, size)))
      case _:
        raise ValueError('it refers to something that is not a storage')
