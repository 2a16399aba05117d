"""Several methods on one pair of networks, side by side.

  python -m experiments.compare --methods kd fcfd_appearance fcfd

Each method is an arm with its published settings for the pair if there are any,
otherwise with the defaults of the method; the student alone is always trained.
All students of a seed start from the same weights and have the same recipe, so
differences are paired by seed. `--changes fcfd.warmup_epochs=2` changes
settings; `--sweep kd.weight=0.3:0.9:2.7 kd.learning_rate=0.02:0.05` makes an
arm of each combination, all in one compiled program. `fcfd_appearance` is FCFD
without its function terms. Accuracies at a CPU's budget: `results/`. A finished
comparison can be resumed with more seeds and methods.
"""

import collections
import dataclasses
import functools
import sys

import tyro

from experiments import arm_settings, pair_presets
from kdjax import methods
from kdjax.cli.command import Command
from kdjax.cli.defaults import Default, apply, kept, resolve_method
from kdjax.methods import Fcfd, Method, Supervised
from kdjax.methods.settings import with_settings
from kdjax.studies import StudyConfig
from kdjax.train.run import LEARNING_RATE

_VARIANTS: dict[str, Method] = {'fcfd_appearance': Fcfd(directions='nomix')}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(StudyConfig):
  """Settings of `experiments.compare`.

  Attributes:
    methods: Names of the methods to compare, each an arm, e.g. kd or kd+icd;
      fcfd_appearance is FCFD without its function terms.
    changes: Settings of arms, ARM.SETTING=VALUE, e.g. kd2m.metric=cw2, or
      ARM.PART.SETTING=VALUE for a part of a combination.
    sweep: Numbers to try for a setting of an arm or its learning_rate,
      ARM.SETTING=VALUE:VALUE:…, e.g. kd.weight=0.3:0.9; several settings of an
      arm are tried in all combinations.
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
    for arm, method in self.arms.items():  # raises for unknown names
      with_settings(method, self._method_numbers(arm))
      self._check_rate(arm)

  def _check_rate(self, arm: str) -> None:
    rate = self.numbers(arm).get(LEARNING_RATE)
    if rate is None:
      return
    if self.recipe.final_learning_rate:
      raise ValueError(
        'A sweep of the learning rate would also scale the final learning '
        'rate of the cosine schedule; give --final_learning_rate=0.'
      )
    dataclasses.replace(self.recipe, learning_rate=rate)  # checks the rate

  @property
  def title(self) -> str:
    """Description in the name of a new work folder."""
    return f'{self.teacher}-{self.student}'

  @property
  def arms(self) -> dict[str, Method]:
    """Methods by arm, with published, changed and swept settings."""
    arms = {}
    for name, points in self._points.items():
      for arm, numbers in points.items():
        values = {k: v for k, v in numbers.items() if k != LEARNING_RATE}
        method, _ = resolve_method(self._changed_arms[name], name)
        for setting, value in values.items():
          method = arm_settings.changed(method, setting, repr(value))
        arms[arm] = method
    return arms

  def _method_numbers(self, arm: str) -> dict[str, float]:
    """Returns the swept settings of an arm's method."""
    numbers = self.numbers(arm)
    numbers.pop(LEARNING_RATE, None)
    return numbers

  def numbers(self, arm: str) -> dict[str, float]:
    """Returns the swept numbers of an arm, by setting."""
    of_all = collections.ChainMap(*self._points.values())
    return dict(of_all.get(arm, {}))  # {} for the student alone

  @property
  def arm_defaults(self) -> list[Default]:
    """Settings of the arms that papers give, or that follow from others."""
    return [
      default
      for name, method in self._changed_arms.items()
      for default in self._defaults_of(name, method)
    ]

  def _defaults_of(self, name: str, method: Method) -> list[Default]:
    presets = kept(method, self._presets(method))
    _, filled = resolve_method(method, name)
    swept = {
      f'{name}.{setting}'
      for numbers in self._points[name].values()
      for setting in numbers
    }
    defaults = [*(preset.within(name) for preset in presets), *filled]
    return [default for default in defaults if default.setting not in swept]

  @functools.cached_property
  def _changed_arms(self) -> dict[str, Method]:
    arms = {name: self._arm(name) for name in self.methods}
    for change in self.changes:
      arm, setting, value = arm_settings.split(
        change, arms, 'A change is', 'VALUE'
      )
      self._check_once('changes', f'{arm}.{setting}')
      arms[arm] = arm_settings.changed(arms[arm], setting, value)
    return arms

  @functools.cached_property
  def _points(self) -> dict[str, dict[str, dict[str, float]]]:
    """Swept numbers, by method, arm and setting."""
    swept = {name: {} for name in self.methods}
    for sweep in self.sweep:
      name, setting, values = arm_settings.split(
        sweep, swept, 'A sweep is', 'VALUE:VALUE:…'
      )
      self._check_once('sweep', f'{name}.{setting}')
      swept[name][setting] = arm_settings.numbers(sweep, values)
    return {
      name: arm_settings.grid(name, numbers) for name, numbers in swept.items()
    }

  def _check_once(self, flag: str, setting: str) -> None:
    """Checks that one entry of one flag sets a setting of an arm.

    Raises:
      ValueError: If several do: one would replace the others.
    """
    settings = [text.partition('=')[0] for text in self.changes + self.sweep]
    if settings.count(setting) > 1:
      raise ValueError(
        f'--{flag} has {setting}, which --changes and --sweep set '
        f'{settings.count(setting)} times; give all values of a setting at '
        f'once, as in --sweep={setting}=1:2:3.'
      )

  def _arm(self, name: str) -> Method:
    method = _VARIANTS.get(name) or methods.create(name)
    return apply(method, self._presets(method))

  def _presets(self, method: Method) -> list[Default]:
    return pair_presets.method_presets(method, self.teacher, self.student)


def resolve(config: Config) -> tuple[Config, list[Default]]:
  """Returns the defaults of the arms; the configuration has only names."""
  return config, config.arm_defaults


COMMAND = Command(
  name='experiments.compare',
  description=__doc__,
  config=Config,
  resolve=resolve,
)


if __name__ == '__main__':
  sys.exit(COMMAND.main())
