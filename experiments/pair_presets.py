"""Defaults that a method and a pair of networks decide."""

import dataclasses

from experiments.published import PAIRS, Published, find
from kdjax import models
from kdjax.cli.defaults import Default
from kdjax.methods import Combination, Method
from kdjax.studies import StudyConfig
from kdjax.studies.config import name_of


def presets(config: StudyConfig) -> list[Default]:
  """Returns the defaults that a method and a pair of networks decide.

  Args:
    config: The defaults of a command, with the method and the pair.
  """
  pair = (config.teacher, config.student)
  row = find(config.method, *pair)
  of_method = method_presets(config.method, *pair, prefix='method.')
  return [*of_method, *_recipe_presets(config, row)]


def method_presets(
  method: Method, teacher: str, student: str, *, prefix: str = ''
) -> list[Default]:
  """Returns the published settings of a method on a pair.

  The weights of the task and of soft targets that are published for a method
  alone do not hold in a combination.

  Args:
    method: The method, or a combination.
    teacher: Name of the teacher network.
    student: Name of the student network.
    prefix: Prefix of the settings' paths.
  """
  if isinstance(method, Combination):
    return [
      preset
      for name, part in method.parts().items()
      for preset in method_presets(
        part, teacher, student, prefix=f'{prefix}{name}.'
      )
      if _holds_combined(part, preset)
    ]
  row = PAIRS.get((type(method), teacher, student))
  if row is None:
    return []
  source = _source(row, method, teacher, student)
  return [
    Default(f'{prefix}{name}', value, source)
    for name, value in row.method.items()
  ]


def _recipe_presets(
  config: StudyConfig, row: Published | None
) -> list[Default]:
  """Returns the recipe of a pair.

  A teacher that is trained here keeps the command's learning rate if the rate
  is lowered for its student.
  """
  teacher, student = config.teacher, config.student
  usual = config.recipe.learning_rate
  presets = [_learning_rate(config, row)]
  if row is not None:
    source = _source(row, config.method, teacher, student)
    presets = [] if 'learning_rate' in row.recipe else presets
    presets += [
      Default(f'recipe.{name}', value, source)
      for name, value in row.recipe.items()
    ]
  (rate,) = (x.value for x in presets if x.setting == 'recipe.learning_rate')
  if rate < usual and not _learns_slowly(teacher):
    source = f'the rate of {student} is lowered, not that of {teacher}'
    presets.append(Default('teacher_learning_rate', usual, source))
  return presets


def _learning_rate(config: StudyConfig, row: Published | None) -> Default:
  """Returns the learning rate where no paper gives one."""
  rate, source = config.recipe.learning_rate, 'the recipe of the command'
  if _learns_slowly(config.student):
    rate, source = 0.01, "the field's recipe for small mobile networks"
  if row is None:
    source += (
      f'; no settings are published for {name_of(config.method)} on '
      f'{config.teacher} to {config.student}'
    )
  return Default('recipe.learning_rate', rate, source)


def _holds_combined(part: Method, preset: Default) -> bool:
  """Returns whether a part of a combination keeps a published setting."""
  name = preset.setting.rpartition('.')[2]
  changed = dataclasses.replace(part, **{name: preset.value})
  return getattr(changed.combined(), name) == preset.value


def _source(row: Published, method: Method, teacher: str, student: str) -> str:
  return f'{name_of(method)} for {teacher} to {student} ({row.source})'


def _learns_slowly(network: str) -> bool:
  """Returns whether the recipes for small images give a network 0.01."""
  return models.is_mobile(network) and not network.startswith('imagenet_')
