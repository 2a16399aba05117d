"""Settings of the arms of a comparison, read from text."""

import ast
import dataclasses
import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from kdjax.methods import Method


def split(
  text: str, arms: Collection[str], what: str, values: str
) -> tuple[str, str, str]:
  """Splits `ARM.SETTING=VALUES` into its parts.

  Args:
    text: The text.
    arms: Names of the arms.
    what: Beginning of the error message.
    values: Form of the values, for the error message.

  Returns:
    Arm, setting and values.

  Raises:
    ValueError: If the text has another form or the arm is unknown.
  """
  target, equals, given = text.partition('=')
  arm, _, setting = target.partition('.')
  if not (equals and setting) or arm not in arms:
    raise ValueError(
      f'{what} ARM.SETTING={values} with an arm of {", ".join(arms)}; got '
      f'{text!r}.'
    )
  return arm, setting, given


def numbers(sweep: str, values: str) -> tuple[float, ...]:
  """Reads the numbers of a sweep.

  Args:
    sweep: The whole text, for the error message.
    values: The numbers, separated by colons.

  Raises:
    ValueError: If there are not two or more different, finite numbers.
  """
  try:
    read = tuple(map(float, values.split(':')))
  except ValueError:
    read = ()
  if len(set(read)) < max(len(read), 2) or not all(map(math.isfinite, read)):
    raise ValueError(
      'A sweep tries two different numbers or more, separated by colons, got '
      f'{sweep!r}; --changes sets one value, of any kind.'
    )
  return read


def grid(
  name: str, swept: Mapping[str, Sequence[float]]
) -> dict[str, dict[str, float]]:
  """Returns all combinations of the swept numbers of a method, by arm."""
  arms = {}
  for values in itertools.product(*swept.values()):
    numbers = dict(zip(swept, values))
    labels = [f'{key}={_label(value)}' for key, value in numbers.items()]
    arms['_'.join([name, *labels])] = numbers
  return arms


def _label(value: float) -> str:
  """Returns a short text of a number, from which it can be read again."""
  short = f'{value:g}'
  return short if float(short) == value else repr(value)


def changed(method: Method, setting: str, value: str) -> Method:
  """Returns a method with one setting changed.

  Args:
    method: The method.
    setting: Name of the setting, or PART.SETTING.
    value: Its value as text: a Python literal or a word.

  Raises:
    ValueError: If the method has no such setting, or not of this value.
  """
  name, dot, rest = setting.partition('.')
  known = {field.name for field in dataclasses.fields(method)}
  if name not in known:
    raise ValueError(
      f'{type(method).__name__} has no setting {name!r}; it has '
      f'{", ".join(sorted(known))}.'
    )
  if not dot:
    return dataclasses.replace(method, **{name: _read(value)})
  part = getattr(method, name)
  if not dataclasses.is_dataclass(part):
    raise ValueError(
      f'{name} of {type(method).__name__} has no settings of its own, got '
      f'{setting!r}.'
    )
  new: Any = changed(part, rest, value)  # pyright: ignore
  return dataclasses.replace(method, **{name: new})


def _read(text: str) -> Any:
  """Reads a Python literal; every other text is a word."""
  try:
    value = ast.literal_eval(text)
  except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
    return text
  return _tuples(value)


def _tuples(value: Any) -> Any:
  """Returns a value with lists as tuples, of which settings consist."""
  if isinstance(value, list | tuple):
    return tuple(map(_tuples, value))
  return value
