"""The distillation methods by name."""

import dataclasses
from collections.abc import Mapping
from typing import Any, cast

from kdjax.methods.base import Method
from kdjax.methods.combination import combine
from kdjax.methods.fcfd import Fcfd
from kdjax.methods.icd import Icd
from kdjax.methods.kd import Kd
from kdjax.methods.kd2m import Kd2m
from kdjax.methods.lshfm import Lshfm
from kdjax.methods.ssim import Ssim
from kdjax.methods.supervised import Supervised
from kdjax.names import unknown

METHODS: dict[str, type[Method]] = {
  'none': Supervised,
  'fcfd': Fcfd,
  'icd': Icd,
  'dcd': Icd,  # the later name of icd
  'kd': Kd,
  'kd2m': Kd2m,
  'lshfm': Lshfm,
  'ssim': Ssim,
}


def create(name: str) -> Method:
  """Returns a method with the default settings of its paper.

  Args:
    name: A name of `METHODS`, or several joined by `+`.

  Returns:
    The method; of several names their combination, see `combine`.

  Raises:
    ValueError: If a name is unknown or the methods cannot be combined.

  Examples:
    >>> from kdjax import methods
    >>> methods.create('kd')
    Kd(task_weight=0.1, weight=0.9, temperature=4.0)
    >>> both = methods.create('kd+icd')
    >>> both.kd.weight, both.icd.width
    (1.0, 128)
  """
  names = name.split('+')
  for part in names:
    if part not in METHODS:
      raise ValueError(unknown('method', part, METHODS))
  if len(names) == 1:
    return METHODS[name]()
  if 'none' in names or len(set(names)) < len(names):
    raise ValueError(
      f'Method {name!r} must combine different methods, without none.'
    )
  return combine({part: METHODS[part]() for part in names})


def is_known(stored: Mapping[str, Any]) -> bool:
  """Returns whether `from_json` knows the type of a stored method.

  Args:
    stored: As for `from_json`.
  """
  name = str(stored.get('type'))
  return name in _types() or ('+' in name and {*name.split('+')} <= {*METHODS})


def from_json(stored: Mapping[str, Any]) -> Method:
  """Returns the method whose settings a run's `config.json` holds.

  Args:
    stored: Result of `kdjax.runtime.files.to_json` for a method of `METHODS` or
      a combination of them.

  Raises:
    ValueError: If it is no such method, or a setting is wrong.
  """
  name, types = str(stored.get('type')), _types()
  if name in types:
    return _with_values(types[name](), stored)
  if '+' not in name:
    raise ValueError(unknown('method type', name, types))
  return _with_values(create(name), stored)


def _types() -> dict[str, type[Method]]:
  return {made.__name__: made for made in METHODS.values()}


def _with_values(settings: Any, stored: Mapping[str, Any]) -> Any:
  """Returns settings with the stored values of their fields."""
  kinds = {field.name for field in dataclasses.fields(settings)}
  values: dict[str, Any] = {}
  for name, value in stored.items():
    if name == 'type':
      continue
    if name not in kinds:
      raise ValueError(unknown('setting', name, kinds))
    default = getattr(settings, name)
    if dataclasses.is_dataclass(default) and isinstance(value, Mapping):
      inner = cast(Mapping[str, Any], value)
      values[name] = _with_values(default, inner)
    else:
      values[name] = _tuples(value)
  return dataclasses.replace(settings, **values)


def _tuples(value: Any) -> Any:
  """Returns a JSON value with its lists as the tuples they were."""
  if not isinstance(value, list):
    return value
  return tuple(_tuples(item) for item in cast(list[Any], value))
