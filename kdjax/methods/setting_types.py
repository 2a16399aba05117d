"""Checks that values of settings are of the types that they are declared as."""

import dataclasses
import functools
import math
import numbers
import types
import typing
from typing import Any, Literal

from kdjax.names import unknown

_LARGEST = 2**63 - 1
_WORDS = {
  bool: 'True or False',
  float: 'a number',
  int: 'a whole number',
  str: 'a word',
  type(None): 'None',
}


def check_types(settings: Any) -> None:
  """Checks every field of a dataclass of settings.

  Args:
    settings: The dataclass.

  Raises:
    ValueError: If a value is not of the declared type, or a number is not
      finite or too large; names the setting.
  """
  cls: type[Any] = settings.__class__
  kinds = _kinds(cls)
  for field in dataclasses.fields(settings):
    value, kind = getattr(settings, field.name), kinds[field.name]
    what = f'{field.name} of {cls.__name__}'
    if not _fits(value, kind):
      if typing.get_origin(kind) is Literal and isinstance(value, str):
        raise ValueError(unknown(what, value, typing.get_args(kind)))
      raise ValueError(f'{what} must be {_describe(kind)}, got {value!r:.80}.')
    if (number := _unusable(value)) is not None:
      raise ValueError(f'{what} must be a finite number, got {number}.')


@functools.cache
def _kinds(cls: type[Any]) -> dict[str, Any]:
  return typing.get_type_hints(cls)


def _fits(value: Any, kind: Any) -> bool:
  """Returns whether a value is of a declared type."""
  origin, items = typing.get_origin(kind), typing.get_args(kind)
  if origin in (typing.Union, types.UnionType):
    return any(_fits(value, item) for item in items)
  if origin is Literal:
    return any(value == item and type(value) is type(item) for item in items)
  if origin is tuple:
    if not isinstance(value, tuple):
      return False
    entries = typing.cast(tuple[Any, ...], value)
    if items[1:] == (...,):
      return all(_fits(entry, items[0]) for entry in entries)
    return len(entries) == len(items) and all(map(_fits, entries, items))
  if kind in (float, int):
    return _is_number(value, kind)
  return not isinstance(kind, type) or isinstance(value, kind)


def _is_number(value: Any, kind: type) -> bool:
  if isinstance(value, bool):
    return False
  wanted = numbers.Real if kind is float else numbers.Integral
  # JAX's scalars, which may be traced, are of neither class.
  return isinstance(value, wanted) or getattr(value, 'shape', None) == ()


def _unusable(value: Any) -> Any:
  """Returns the first number in a value that is not finite or too large."""
  if isinstance(value, tuple):
    entries = typing.cast(tuple[Any, ...], value)
    return next((n for n in map(_unusable, entries) if n is not None), None)
  if isinstance(value, int) and abs(value) > _LARGEST:
    return value
  if isinstance(value, float) and not math.isfinite(value):
    return value
  return None


def _describe(kind: Any) -> str:
  """Returns a declared type in words."""
  origin, items = typing.get_origin(kind), typing.get_args(kind)
  if origin in (typing.Union, types.UnionType):
    return ' or '.join(map(_describe, items))
  if origin is Literal:
    return ' or '.join(map(repr, items))
  if origin is tuple and items[1:] == (...,):
    return f'a tuple, each entry {_describe(items[0])}'
  if origin is tuple:
    return f'({", ".join(map(_describe, items))})'
  return _WORDS.get(kind, getattr(kind, '__name__', str(kind)))
