"""Distillation on CIFAR and on your own small images.

  python -m experiments.cifar --method=kd2m

The defaults are RepDistiller's recipe: 240 epochs, batch size 64, SGD with
learning rate 0.05, divided by 10 after epochs 150, 180 and 210. Settings that a
paper gives for a method on a pair of networks are the defaults of that pair
(`experiments/published.py`) and are printed. The teacher is trained once and
kept for later commands, or loaded from `--teacher_checkpoint`. Published top-1
accuracy on CIFAR-100 in percent, resnet32x4 to resnet8x4: teacher 79.42,
student alone 72.50, KD 73.33 (RepDistiller); measured with this library:
`results/`.
"""

import dataclasses
import sys

from experiments import pair_presets
from kdjax.cli.command import Command
from kdjax.methods import Kd2m, Method
from kdjax.studies import StudyConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(StudyConfig):
  """Settings of `experiments.cifar`."""

  dataset: str = 'cifar100'
  teacher: str = 'resnet32x4'
  student: str = 'resnet8x4'
  method: Method = Kd2m()


COMMAND = Command(
  name='experiments.cifar',
  description=__doc__,
  config=Config,
  deciding=('method', 'teacher', 'student'),
  presets=pair_presets.presets,
)


if __name__ == '__main__':
  sys.exit(COMMAND.main())
