"""KD²M's table: every distance of the paper on one pair, with its controls.

  python -m experiments.kd2m --dataset=cifar100

ResNet-34 teaches ResNet-18 on CIFAR-100, CIFAR-10 or SVHN by the recipe of
Fernandes Montesuma, KD²M, 2025, https://arxiv.org/abs/2504.01757. The paper's
networks start from weights of ImageNet: give them by `--teacher_init` and
`--student_init` (torchvision's files), or train from scratch without. All
students of a seed start from the same weights and have the same schedule; in
the released code the student alone has another. Accuracy in percent, paper:

                 SVHN   CIFAR-10  CIFAR-100
  student alone  93.10     85.11      56.66
  teacher        94.41     86.98      62.21
  w2             94.00     86.45      61.07
  cw2            94.06     86.54      61.47
  jw2            94.00     86.60      61.07
  w2_gauss       93.94     86.63      60.68
  cw2_gauss      93.95     86.25      61.43
  kl_gauss       94.05     86.44      60.66

Ours at a CPU's budget: `results/cifar100_kd2m/`.
"""

import dataclasses
import sys

from kdjax import methods
from kdjax.cli import command
from kdjax.methods import Kd2m, Method
from kdjax.methods.kd2m_metrics import UNITLESS
from kdjax.studies import Study, StudyConfig
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
  """ResNet-34 to ResNet-18 on CIFAR-100.

  Attributes:
    method: What the metrics have in common.
    metrics: Of KD²M, each an arm; `paired` is the control that matches every
      image to itself.
    baselines: Other methods to compare with, by name.
    weight_factors: What every metric's weight is multiplied by; of several,
      each is an arm, as in the paper's ablation of λ.
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
    _ = self.arms  # their names and settings

  @property
  def arms(self) -> dict[str, Method]:
    """The baselines, then the metrics."""
    arms = {name: methods.create(name) for name in self.baselines}
    for metric in self.metrics:
      for factor in self.weight_factors:
        several = len(self.weight_factors) > 1
        name = f'{metric}_x{factor:g}' if several else metric
        arms[name] = self._weighted(metric, factor)
    return arms

  def numbers(self, arm: str) -> dict[str, float]:
    """The weight, where a metric has several."""
    method = self.arms.get(arm)  # the student alone is none of them
    if len(self.weight_factors) == 1 or not isinstance(method, Kd2m):
      return {}
    return {'weight': method.effective_weight}

  def _weighted(self, metric: str, factor: float) -> Method:
    """KD²M with a metric and so many times the weight that suits it."""
    assert isinstance(self.method, Kd2m)
    scale = 'none' if metric in UNITLESS else self.method.scale
    method = dataclasses.replace(self.method, metric=metric, scale=scale)
    weight = factor * method.effective_weight
    return dataclasses.replace(method, weight=weight)


def make_config(method: methods.Method) -> Config:
  """The defaults for a method."""
  default = Config()
  return default if method == Kd2m() else Config(method=method)


def run(
  config: Config | None = None, place: command.Place | None = None
) -> Study:
  """Runs the comparison; what notebooks call."""
  return command.run(
    config or Config(),
    place or command.Place(),
    name='experiments.kd2m',
  )


if __name__ == '__main__':
  sys.exit(command.main(make_config, name='experiments.kd2m'))
