"""Several methods on one pair of networks, side by side.

  python -m experiments.compare --methods kd fcfd_appearance fcfd

Each method is an arm with its published settings for the pair, where there are
any, and its defaults otherwise; the student alone is always there. All students
of a seed start from the same weights and have the same recipe, so differences
are paired by seed. `--changes fcfd.warmup_epochs=2 kd2m.metric=cw2` changes
settings. `fcfd_appearance` is FCFD without its function terms. Results at a
CPU's budget: `results/`. A finished comparison takes more seeds and methods
with `--resume`.
"""

import ast
import dataclasses
import sys
from typing import Any

import tyro

from experiments import command, published
from kdjax import methods
from kdjax.methods import Fcfd, Method, Supervised
from kdjax.train import Study, StudyConfig

_VARIANTS: dict[str, Method] = {'fcfd_appearance': Fcfd(directions='nomix')}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(StudyConfig):
  """ResNet-56 to ResNet-20.

  Attributes:
    methods: The arms, by name; `a+b` is a combination.
    changes: Settings that differ, `ARM.SETTING=VALUE`; those of a part of a
      combination `ARM.PART.SETTING=VALUE`.
  """

  dataset: str = 'cifar100'
  teacher: str = 'resnet56'
  student: str = 'resnet20'
  method: tyro.conf.Suppress[Method] = Supervised()
  methods: tuple[str, ...] = ('kd', 'fcfd_appearance', 'fcfd')
  changes: tuple[str, ...] = ()

  def __post_init__(self):
    """Checks the arms before anything is loaded."""
    super().__post_init__()
    if not self.methods or len(set(self.methods)) < len(self.methods):
      raise ValueError(
        f'methods must be different and at least one, got {self.methods}.'
      )
    _ = self.arms  # their names and settings

  @property
  def title(self) -> str:
    """What names a new work folder of it."""
    return f'{self.teacher}-{self.student}'

  @property
  def arms(self) -> dict[str, Method]:
    """The methods by name, with all that is known of the pair and asked for."""
    arms = {name: self._arm(name) for name in self.methods}
    for change in self.changes:
      target, equals, value = change.partition('=')
      arm, _, setting = target.partition('.')
      if not (equals and setting) or arm not in arms:
        raise ValueError(
          f'A change is ARM.SETTING=VALUE with an arm of {", ".join(arms)}; '
          f'got {change!r}.'
        )
      arms[arm] = _changed(arms[arm], setting, value)
    return arms

  def _arm(self, name: str) -> Method:
    method = _VARIANTS.get(name) or methods.create(name)
    return published.settled(method, self.teacher, self.student)


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
