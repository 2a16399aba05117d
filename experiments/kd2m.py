"""KD²M's table: every metric of the paper on one pair, with controls.

  python -m experiments.kd2m --dataset=cifar100

ResNet-34 teaches ResNet-18 on CIFAR-100, CIFAR-10 or SVHN with the recipe of
Fernandes Montesuma, KD²M, 2025, https://arxiv.org/abs/2504.01757. The paper's
networks start from ImageNet weights: give torchvision's files as
`--teacher_init` and `--student_init`, otherwise both are trained from scratch.
All students of a seed start from the same weights and have the same schedule;
in the released code the student alone has another schedule. Accuracy in
percent in the paper:

                 SVHN   CIFAR-10  CIFAR-100
  student alone  93.10     85.11      56.66
  teacher        94.41     86.98      62.21
  w2             94.00     86.45      61.07
  cw2            94.06     86.54      61.47
  jw2            94.00     86.60      61.07
  w2_gauss       93.94     86.63      60.68
  cw2_gauss      93.95     86.25      61.43
  kl_gauss       94.05     86.44      60.66

Measured at a CPU's budget: `results/cifar100_kd2m/`.
"""

import dataclasses
import sys

from kdjax import methods
from kdjax.cli.command import Command
from kdjax.cli.defaults import Default, resolve_method, weight_source
from kdjax.methods import Kd2m, Method
from kdjax.methods.kd2m_metrics import UNITLESS
from kdjax.methods.schedules import scaled
from kdjax.studies import StudyConfig
from kdjax.train import Recipe

TABLE = ('w2', 'cw2', 'jw2', 'w2_gauss', 'cw2_gauss', 'kl_gauss')
PAPER = Recipe(
  epochs=15,
  batch_size=128,
  learning_rate=0.01,
  weight_decay=0.0,
  schedule='cosine',
  final_learning_rate=1e-4,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(StudyConfig):
  """Settings of `experiments.kd2m`.

  Attributes:
    method: Settings of KD²M that all metrics share.
    metrics: Metrics of KD²M, each an arm. The control `paired` compares each
      image with itself.
    baselines: Names of other methods to compare with, each an arm.
    weight_factors: Factors of the weight of each metric; each of several
      factors is an arm, as in the paper's ablation of the weight λ.
  """

  dataset: str = 'cifar100'
  teacher: str = 'imagenet_resnet34'
  student: str = 'imagenet_resnet18'
  method: Method = Kd2m(scale='teacher_var')
  metrics: tuple[str, ...] = (*TABLE, 'paired')
  baselines: tuple[str, ...] = ('kd',)
  weight_factors: tuple[float, ...] = (1.0,)
  recipe: Recipe = PAPER

  def __post_init__(self):
    """Checks the arms before anything is loaded."""
    super().__post_init__()
    if not isinstance(self.method, Kd2m):
      raise ValueError(
        'experiments.kd2m compares metrics of kd2m; name other methods by '
        '--baselines, or use experiments.cifar.'
      )
    if not self.weight_factors or min(self.weight_factors) < 0:
      raise ValueError(
        'weight_factors must be zero or more and at least one, got '
        f'{self.weight_factors}.'
      )
    _ = self.arms  # raises for unknown names

  @property
  def arms(self) -> dict[str, Method]:
    """Methods by arm: the baselines, then the metrics."""
    arms: dict[str, Method] = {
      name: resolve_method(methods.create(name), name)[0]
      for name in self.baselines
    }
    for metric in self.metrics:
      for factor in self.weight_factors:
        several = len(self.weight_factors) > 1
        name = f'{metric}_x{factor:g}' if several else metric
        arms[name] = self._weighted(metric, factor)
    return arms

  def numbers(self, arm: str) -> dict[str, float]:
    """Returns the weight of an arm, where it is swept."""
    method = self.arms.get(arm)  # None for the student alone
    if len(self.weight_factors) == 1 or not isinstance(method, Kd2m):
      return {}
    weight = method.effective_weight
    return {} if isinstance(weight, tuple) else {'weight': weight}

  def _weighted(self, metric: str, factor: float) -> Method:
    """Returns KD²M with a metric and a multiple of its weight."""
    assert isinstance(self.method, Kd2m)
    scale = 'none' if metric in UNITLESS else self.method.scale
    method = dataclasses.replace(self.method, metric=metric, scale=scale)
    weight = scaled(method.effective_weight, factor)
    return dataclasses.replace(method, weight=weight)


def presets(config: Config) -> list[Default]:
  """Returns the scale of KD²M, by which one weight suits all networks."""
  if not isinstance(config.method, Kd2m):
    return []
  return [Default('method.scale', 'teacher_var', 'kd2m with many metrics')]


def resolve(config: Config) -> tuple[Config, list[Default]]:
  """Returns the weights of the metrics; the configuration has one for all."""
  if getattr(config.method, 'weight', None) is not None:
    return config, []
  return config, [
    Default(f'{arm}.weight', method.weight, weight_source(method))
    for arm, method in config.arms.items()
    if isinstance(method, Kd2m)
  ]


COMMAND = Command(
  name='experiments.kd2m',
  description=__doc__,
  config=Config,
  deciding=('method',),
  presets=presets,
  resolve=resolve,
)


if __name__ == '__main__':
  sys.exit(COMMAND.main())
