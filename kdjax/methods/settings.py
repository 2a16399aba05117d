"""Settings of methods: checks, and float settings as leaves of a pytree."""

import copy
import dataclasses
import functools
import typing
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import jax

from kdjax.names import unknown

# Types of static values of float settings.
_STATIC = (str, tuple, type(None))


def register(cls: type) -> None:
  """Registers a class of settings as a pytree.

  Its leaves are the numbers among the settings that may be any number
  (annotated with `float`, alone or in a union), and the leaves of settings that
  are themselves registered. Everything else is static, also `None`, names and
  weights that are steps by epoch. So arms of a sweep that differ in float
  settings share one compiled program, which takes them as arguments.

  Args:
    cls: A frozen dataclass.
  """
  tree_util: Any = jax.tree_util
  tree_util.register_pytree_with_keys(
    cls, _flatten_with_keys, functools.partial(_unflatten, cls)
  )


def float_settings(settings: Any) -> dict[str, Any]:
  """Returns the leaves by name; `kd.weight` is a part's of a combination.

  Args:
    settings: Settings of a registered class.
  """
  return {
    name: value
    for name, value in _named_values(settings)
    if not isinstance(value, _STATIC)
  }


def with_settings(settings: Any, values: Mapping[str, Any]) -> Any:
  """Returns the same settings with other float settings, without checks.

  Args:
    settings: Settings of a registered class.
    values: New values by name; they may be traced.

  Raises:
    ValueError: If a name is not that of a float setting.

  Examples:
    >>> from kdjax import methods
    >>> with_settings(methods.Kd(), {'weight': 2.0, 'temperature': 1.0})
    Kd(task_weight=0.1, weight=2.0, temperature=1.0)
    >>> both = with_settings(methods.create('kd+icd'), {'icd.weight': 0.5})
    >>> both.icd.weight
    0.5
  """
  known = [name for name, _ in _named_values(settings)]
  for name in values:
    if name not in known:
      raise ValueError(
        f'{name} of {type(settings).__name__} is not a setting that may be any '
        f'number; these are {", ".join(known)}.'
      )
  changed = copy.copy(settings)
  for path, value in values.items():
    name, _, rest = path.partition('.')
    if rest:
      value = with_settings(getattr(changed, name), {rest: value})
    object.__setattr__(changed, name, value)  # the dataclass is frozen
  return changed


def check_not_negative(settings: Any, *names: str) -> None:
  """Raises a `ValueError` that names a setting that is negative or NaN."""
  for name in names:
    value = getattr(settings, name)
    if not value >= 0:
      raise ValueError(
        f'{name} of {type(settings).__name__} must be zero or more, got '
        f'{value}.'
      )


def check_positive(settings: Any, *names: str) -> None:
  """Raises a `ValueError` that names a setting that is not positive."""
  for name in names:
    value = getattr(settings, name)
    if not value > 0:
      raise ValueError(
        f'{name} of {type(settings).__name__} must be positive, got {value}.'
      )


def check_choice(settings: Any, name: str, known: Collection[str]) -> None:
  """Raises a `ValueError` that names a setting and its choices."""
  value = getattr(settings, name)
  if value not in known:
    raise ValueError(
      unknown(f'{name} of {type(settings).__name__}', value, known)
    )


@functools.cache
def _fields(cls: type[Any]) -> tuple[str, ...]:
  """Returns the fields that are float settings or registered settings."""
  kinds = typing.get_type_hints(cls)
  return tuple(
    field.name
    for field in dataclasses.fields(cls)
    if float in (kinds[field.name], *typing.get_args(kinds[field.name]))
    or _is_registered(kinds[field.name])
  )


def _is_registered(kind: Any) -> bool:
  return isinstance(kind, type) and getattr(kind, 'is_settings', False)


def _named_values(settings: Any) -> Iterator[tuple[str, Any]]:
  """Yields the names and values of all float settings, also static values."""
  for name in _fields(settings.__class__):
    value = getattr(settings, name)
    if _is_registered(type(value)):
      for below, own in _named_values(value):
        yield f'{name}.{below}', own
    else:
      yield name, value


def _flatten_with_keys(settings: Any) -> tuple[list[tuple[Any, Any]], Any]:
  floats = _fields(settings.__class__)
  values = {
    field.name: getattr(settings, field.name)
    for field in dataclasses.fields(settings)
  }
  leaves = [name for name in floats if not isinstance(values[name], _STATIC)]
  static = tuple(
    (name, value) for name, value in values.items() if name not in leaves
  )
  children = [(jax.tree_util.GetAttrKey(name), values[name]) for name in leaves]
  return children, (tuple(leaves), static)


def _unflatten(cls: type[Any], structure: Any, children: Any) -> Any:
  # Without the constructor, whose checks would fail for traced leaves.
  names, static = structure
  settings = object.__new__(cls)
  settings.__dict__.update(static, **dict(zip(names, children)))
  return settings
