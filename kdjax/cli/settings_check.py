"""Checks of numbers that hold for every setting of every command."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

_LARGEST = 2**31 - 1  # JAX counts in 32 bits
# Normal numbers of float32, in which programs compute.
_SMALLEST, _MOST = 2.0**-126, 3.4e38
_OWN_BOUNDS = ('seeds', 'memory')  # are checked elsewhere


def check_settings(config: Any) -> None:
  """Checks all numbers of a configuration.

  Args:
    config: A dataclass of settings, nested.

  Raises:
    ValueError: If a number is not finite, is none of float32, or has more than
      31 bits; names it.
  """
  entries = [*_numbers(config, ''), *_numbers(_arms(config), '')]
  for name, value in entries:
    flag = name.removeprefix('recipe.').removeprefix('settings.')
    if isinstance(value, float) and not math.isfinite(value):
      raise ValueError(f'{flag} must be a finite number, got {value}.')
    if isinstance(value, float) and value and not _is_normal(value):
      raise ValueError(
        f'{flag} must be 0 or of a size between 1.2e-38 and 3.4e38, as '
        f'programs compute in float32; got {value}.'
      )
    if isinstance(value, int) and not -_LARGEST <= value <= _LARGEST:
      raise ValueError(f'{flag} must be at most {_LARGEST}, got {value}.')


def _is_normal(value: float) -> bool:
  return _SMALLEST <= abs(value) <= _MOST


def _arms(config: Any) -> Mapping[str, Any]:
  """Returns the methods of a comparison, which may be no fields of it."""
  return getattr(config, 'arms', {})


def _numbers(value: Any, name: str) -> Iterator[tuple[str, int | float]]:
  """Yields all numbers with their paths."""
  if name.rpartition('.')[2] in _OWN_BOUNDS:
    return
  if isinstance(value, int | float) and not isinstance(value, bool):
    yield name, value
  elif dataclasses.is_dataclass(value) and not isinstance(value, type):
    for field in dataclasses.fields(value):
      path = f'{name}.{field.name}' if name else field.name
      yield from _numbers(getattr(value, field.name), path)
  elif isinstance(value, tuple | list):
    for item in value:
      yield from _numbers(item, name)
  elif isinstance(value, Mapping):
    for key, item in value.items():
      yield from _numbers(item, f'{name}.{key}' if name else str(key))
