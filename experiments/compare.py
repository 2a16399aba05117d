"""Several methods on one pair of networks, side by side.

  python -m experiments.compare --methods kd fcfd_appearance fcfd

Each method is an arm with its published settings for the pair, where there are
any, and its defaults otherwise; the student alone is always there. All students
of a seed start from the same weights and have the same recipe, so differences
are paired by seed. `--changes fcfd.warmup_epochs=2 kd2m.metric=cw2` changes
settings; `--sweep kd.weight=0.3:0.9:2.7 kd.learning_rate=0.02:0.05` makes an
arm of each combination, all in one program. `fcfd_appearance` is FCFD without
its function terms. Results at a CPU's budget: `results/`. A finished comparison
takes more seeds and methods with `--resume`.
"""

import ast
import collections
import dataclasses
import functools
import itertools
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import tyro

from experiments import published
from kdjax import methods
from kdjax.cli import command
from kdjax.methods import Fcfd, Method, Supervised
from kdjax.studies import Study, StudyConfig
from kdjax.train.numbers import LEARNING_RATE, skeleton

_VARIANTS: dict[str, Method] = {'fcfd_appearance': Fcfd(directions='nomix')}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(StudyConfig):
  """ResNet-56 to ResNet-20.

  Attributes:
    methods: The arms, by name; `a+b` is a combination.
    changes: Settings that differ, `ARM.SETTING=VALUE`; those of a part of a
      combination `ARM.PART.SETTING=VALUE`.
    sweep: Numbers of an arm that are tried, `ARM.SETTING=VALUE:VALUE:…`, which
      may be its `learning_rate`; of several settings all combinations.
  """

  dataset: str = 'cifar100'
  teacher: str = 'resnet56'
  student: str = 'resnet20'
  method: tyro.conf.Suppress[Method] = Supervised()
  methods: tuple[str, ...] = ('kd', 'fcfd_appearance', 'fcfd')
  changes: tuple[str, ...] = ()
  sweep: tuple[str, ...] = ()

  def __post_init__(self):
    """Checks the arms before anything is loaded."""
    super().__post_init__()
    if not self.methods or len(set(self.methods)) < len(self.methods):
      raise ValueError(
        f'methods must be different and at least one, got {self.methods}.'
      )
    for arm, method in self.arms.items():  # their names and settings
      skeleton(method, self.numbers(arm))
      self._check_rate(arm)

  def _check_rate(self, arm: str) -> None:
    rate = self.numbers(arm).get(LEARNING_RATE)
    if rate is None:
      return
    if self.recipe.final_learning_rate:
      raise ValueError(
        'What a cosine ends at would be swept with the learning rate; give '
        '--final_learning_rate=0.'
      )
    dataclasses.replace(self.recipe, learning_rate=rate)  # which checks it

  @property
  def title(self) -> str:
    """What names a new work folder of it."""
    return f'{self.teacher}-{self.student}'

  @property
  def arms(self) -> dict[str, Method]:
    """The methods by name, with all that is known of the pair and asked for."""
    found = {}
    for name, points in self._points.items():
      for arm, numbers in points.items():
        values = {k: v for k, v in numbers.items() if k != LEARNING_RATE}
        method = self._changed_arms[name]
        for setting, value in values.items():
          method = _changed(method, setting, repr(value))
        found[arm] = method
    return found

  def numbers(self, arm: str) -> dict[str, float]:
    """What is swept of an arm."""
    of_all = collections.ChainMap(*self._points.values())
    return dict(of_all.get(arm, {}))  # the student alone is none of them

  @functools.cached_property
  def _changed_arms(self) -> dict[str, Method]:
    arms = {name: self._arm(name) for name in self.methods}
    for change in self.changes:
      arm, setting, value = _target(change, arms, 'A change is', 'VALUE')
      arms[arm] = _changed(arms[arm], setting, value)
    return arms

  @functools.cached_property
  def _points(self) -> dict[str, dict[str, dict[str, float]]]:
    """The numbers that are tried, by method and then by arm."""
    tried = {name: {} for name in self.methods}
    for sweep in self.sweep:
      name, setting, values = _target(
        sweep, tried, 'A sweep is', 'VALUE:VALUE:…'
      )
      tried[name][setting] = _numbers(sweep, values)
    return {name: _grid(name, swept) for name, swept in tried.items()}

  def _arm(self, name: str) -> Method:
    method = _VARIANTS.get(name) or methods.create(name)
    return published.settled(method, self.teacher, self.student)


def _target(
  text: str, arms: Collection[str], what: str, values: str
) -> tuple[str, str, str]:
  """`ARM.SETTING=VALUES` as its parts."""
  target, equals, given = text.partition('=')
  arm, _, setting = target.partition('.')
  if not (equals and setting) or arm not in arms:
    raise ValueError(
      f'{what} ARM.SETTING={values} with an arm of {", ".join(arms)}; got '
      f'{text!r}.'
    )
  return arm, setting, given


def _numbers(sweep: str, values: str) -> tuple[float, ...]:
  try:
    found = tuple(map(float, values.split(':')))
  except ValueError:
    found = ()
  if len(set(found)) < max(len(found), 2):
    raise ValueError(
      'A sweep tries two different numbers or more, separated by colons, got '
      f'{sweep!r}; --changes sets one value, of any kind.'
    )
  return found


def _grid(
  name: str, swept: Mapping[str, Sequence[float]]
) -> dict[str, dict[str, float]]:
  """All combinations of what is tried of a method, by the arm's name."""
  arms = {}
  for values in itertools.product(*swept.values()):
    numbers = dict(zip(swept, values))
    said = [f'{setting}={value:g}' for setting, value in numbers.items()]
    arms['_'.join([name, *said])] = numbers
  return arms


def _changed(method: Method, setting: str, value: str) -> Method:
  """The method with one setting, or one of a part, read from text."""
  name, _, rest = setting.partition('.')
  known = {field.name for field in dataclasses.fields(method)}
  if name not in known:
    raise ValueError(
      f'{type(method).__name__} has no setting {name!r}; it has '
      f'{", ".join(sorted(known))}.'
    )
  new: Any = getattr(method, name)
  if rest:
    new = _changed(new, rest, value)
  else:
    try:
      new = ast.literal_eval(value)
    except (SyntaxError, ValueError):
      new = value  # a word
  return dataclasses.replace(method, **{name: new})


def make_config() -> Config:
  """The defaults."""
  return Config()


def run(
  config: Config | None = None, place: command.Place | None = None
) -> Study:
  """Runs the comparison; what notebooks call."""
  return command.run(
    config or Config(),
    place or command.Place(),
    name='experiments.compare',
  )


if __name__ == '__main__':
  sys.exit(
    command.main(make_config, name='experiments.compare', default_method=None)
  )
