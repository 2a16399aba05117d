"""The pickles inside PyTorch files, read without running anything.

A pickle is a program for a small stack machine, and some of its instructions
call functions that the file names. This machine has the instructions that build
plain containers only, and the names of a short table; all else is refused.
"""

import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from kdjax.convert.messages import shown
from kdjax.convert.torch.pickle_names import (
  Named,
  Storage,
  StorageType,
  as_dict,
  as_key,
  expect,
  named,
)


def read(file: BinaryIO, storages: dict[str, Storage] | None = None) -> Any:
  """One pickle from where `file` stands, as plain containers and `Tensor`s.

  Args:
    file: Left behind the pickle.
    storages: Filled with those that it refers to, by key.

  Raises:
    ValueError: If it names or does something else; says what.
    Exception: Whatever else a damaged pickle leads to; the caller knows the
      file's name and what to say.
  """
  machine = _Machine({} if storages is None else storages)
  start = file.tell()
  for number, (opcode, argument, place) in enumerate(pickletools.genops(file)):
    if number == _MOST:
      raise ValueError(f'it has more than {_MOST} instructions')
    machine.length = (place or start) - start
    machine.do(opcode.name, argument)
  return machine.stack.pop()


def is_one(file: BinaryIO) -> bool:
  """Whether there is a whole pickle where `file` stands; leaves it there."""
  start = file.tell()
  try:
    for _ in pickletools.genops(file):
      pass
  except Exception:  # any at all: pickletools is not made for other files
    return False
  finally:
    file.seek(start)
  return True


# A byte may ask for an empty container of two hundred. State dicts have some
# sixty instructions for a tensor.
_MOST = 5_000_000
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
_NOTHING = ('PROTO', 'FRAME', 'STOP')
_COPIED = (str, bytes, tuple, list, dict, set, frozenset)


class _Machine:
  """The stack, those below the marks, and what was set aside by number."""

  def __init__(self, storages: dict[str, Storage]):
    self.storages = storages
    self.stack: list[Any] = []
    self.below: list[list[Any]] = []
    self.memo: dict[int, Any] = {}
    self.length = 0  # of the pickle so far, in bytes
    self.copied = 0  # by calls so far, in items

  def do(self, name: str, argument: Any) -> None:
    """One instruction."""
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
    elif name not in _NOTHING:
      what = f'{name} {shown(argument)}' if type(argument) is str else name
      raise ValueError(f'it holds the instruction {what}, which makes objects')

  def storage(self, found: Storage) -> Storage:
    """A storage, which is the same wherever the pickle refers to it."""
    known = self.storages.setdefault(found.key, found)
    if known != found:
      raise ValueError(
        f'storage {shown(found.key)} is said to hold {known.size} '
        f'{known.dtype} numbers and also {found.size} {found.dtype}'
      )
    return known

  def to_mark(self) -> list[Any]:
    """What was pushed since the last mark, which is gone with it."""
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
    self.stack.append(named('.'.join(argument.split(' '))))

  def do_STACK_GLOBAL(self, _):
    name, module = self.stack.pop(), self.stack.pop()
    self.stack.append(named(f'{expect(module, str)}.{expect(name, str)}'))

  def do_REDUCE(self, _):
    arguments = expect(self.stack.pop(), tuple)
    # Whatever a call copies was written once for it. A file that has one large
    # thing copied again and again would fill the memory.
    self.copied += sum(len(a) for a in arguments if type(a) in _COPIED)
    self.copied += len(arguments)
    if self.copied > self.length:
      raise ValueError('it makes more of its contents than it holds')
    self.stack.append(expect(self.stack.pop(), Named).call(*arguments))

  def do_BUILD(self, _):
    state, target = self.stack.pop(), self.stack[-1]
    if isinstance(target, np.dtype):  # state[1] is its byte order
      if expect(state, tuple)[1] not in ('<', '|', '='):
        raise ValueError('it holds numbers in big-endian order')
    else:  # the attributes of a state dict: versions of its modules
      expect(target, dict)

  def do_BINPERSID(self, _):
    match self.stack.pop():
      case ('storage', StorageType(dtype), str(key), _, int(size), *view):
        if view not in ([], [None]):
          raise ValueError(f'storage {shown(key)} is a view of another one')
        self.stack.append(self.storage(Storage(key, dtype, size)))
      case _:
        raise ValueError('it refers to something that is not a storage')
