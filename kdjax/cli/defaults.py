"""Defaults that depend on other settings: the only place that decides them.

The value of a setting is, in this order:

1. its flag, or the value that Python code sets;
2. the preset of the command for the method, dataset, teacher and student that
   are asked for. Presets are applied before the other flags are read, so
   `--help` shows them;
3. the default of its dataclass. If that is None and the value follows from
   other settings, `resolve` computes it after all flags are read.

A command prints the defaults of 2 and 3 that its configuration has, with their
sources, and stores them in its `config.json`.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any, TypeVar

from kdjax.methods import Combination, Kd2m, Method
from kdjax.train import StagedRecipe

DataclassT = TypeVar('DataclassT')


@dataclasses.dataclass(frozen=True)
class Default:
  """A default that depends on other settings.

  Attributes:
    setting: Path of the attribute, e.g. `method.weight`.
    value: Its value.
    source: The settings or the paper that it follows from.
  """

  setting: str
  value: Any
  source: str

  @property
  def flag(self) -> str:
    """Name of the flag, without hyphens."""
    return self.setting.removeprefix('recipe.').removeprefix('settings.')

  def within(self, path: str) -> 'Default':
    """Returns this default for a setting within another attribute."""
    return dataclasses.replace(self, setting=f'{path}.{self.setting}')


def apply(config: DataclassT, presets: Iterable[Default]) -> DataclassT:
  """Returns a configuration with the values of presets."""
  for preset in presets:
    config = _replace(config, preset.setting, preset.value)
  return config


def kept(config: Any, presets: Iterable[Default]) -> list[Default]:
  """Returns the presets whose values a configuration has."""
  return [
    preset
    for preset in presets
    if _value(config, preset.setting) == preset.value
  ]


def resolve(config: DataclassT) -> tuple[DataclassT, list[Default]]:
  """Returns a configuration with all settings of method and recipe resolved.

  These are the weights that `resolve_method` computes, and the factor of the
  alignment epochs of a `StagedRecipe`, which depends on the weight.

  Returns:
    The configuration, and the defaults that were filled in.
  """
  method = getattr(config, 'method', None)
  if method is None:
    return config, []
  resolved, filled = resolve_method(method, 'method')
  if filled:
    config = _replace(config, 'method', resolved)
  recipe = getattr(config, 'recipe', None)
  if (
    isinstance(recipe, StagedRecipe)
    and recipe.align_factor is None
    and recipe.align_epochs
  ):
    factor = recipe.effective_align_factor(resolved)
    config = _replace(config, 'recipe.align_factor', factor)
    filled.append(
      Default('recipe.align_factor', factor, 'the weight of the method')
    )
  return config, filled


def resolve_method(method: Method, path: str) -> tuple[Method, list[Default]]:
  """Returns a method without settings that follow from others.

  These are the weights of `Kd2m` that are None: they depend on the metric and
  the scale.

  Args:
    method: The method, or a combination.
    path: Path of the method, e.g. `method`, for the settings' paths.

  Returns:
    The method, and the defaults that were filled in.
  """
  if isinstance(method, Combination):
    parts, filled = {}, []
    for name, part in method.parts().items():
      parts[name], of_part = resolve_method(part, f'{path}.{name}')
      filled += of_part
    return dataclasses.replace(method, **parts), filled
  if not isinstance(method, Kd2m) or method.weight is not None:
    return method, []
  weight = method.effective_weight
  return dataclasses.replace(method, weight=weight), [
    Default(f'{path}.weight', weight, weight_source(method))
  ]


def weight_source(method: Kd2m) -> str:
  """Returns the settings that the default weight of KD²M follows from."""
  return f'kd2m with metric {method.metric} and scale {method.scale}'


def describe(defaults: Iterable[Default]) -> str:
  """Returns the lines that a command prints about its defaults."""
  by_source: dict[str, list[str]] = {}
  for default in defaults:
    text = f'{default.flag} {default.value}'
    by_source.setdefault(default.source, []).append(text)
  return '\n'.join(
    [
      'Defaults that depend on other settings (flags override them):',
      *(f'  {", ".join(texts)}: {x}' for x, texts in by_source.items()),
    ]
  )


def to_json(defaults: Iterable[Default]) -> dict[str, dict[str, Any]]:
  """Returns values and sources by the name of the flag."""
  return {
    default.flag: {'value': default.value, 'source': default.source}
    for default in defaults
  }


def _value(config: Any, setting: str) -> Any:
  for name in setting.split('.'):
    config = getattr(config, name)
  return config


def _replace(config: DataclassT, setting: str, value: Any) -> DataclassT:
  name, _, rest = setting.partition('.')
  if rest:
    value = _replace(getattr(config, name), rest, value)
  return dataclasses.replace(config, **{name: value})  # pyright: ignore
