"""Distillation on CIFAR and on small images of one's own.

  python -m experiments.cifar --method=kd2m

The field's recipe (RepDistiller): 240 epochs, batch 64, SGD 0.05, divided
by 10 after 150, 180 and 210. Where a paper gives other settings for a method on
a pair, they are the defaults, and said (`experiments/published.py`). The
teacher is trained once and kept, or given by `--teacher_checkpoint`. Published
top-1 on CIFAR-100, resnet32x4 to resnet8x4: teacher 79.42, student alone 72.50,
KD 73.33 (RepDistiller); ours: `results/`.
"""

import dataclasses
import sys

from experiments import published
from kdjax import methods
from kdjax.cli import command
from kdjax.methods import Kd2m, Method
from kdjax.studies import Study, StudyConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(StudyConfig):
  """CIFAR-100, resnet32x4 to resnet8x4."""

  dataset: str = 'cifar100'
  teacher: str = 'resnet32x4'
  student: str = 'resnet8x4'
  method: Method = Kd2m()


def make_config(
  method: methods.Method,
  teacher: str = Config.teacher,
  student: str = Config.student,
) -> Config:
  """The defaults for a method on a pair."""
  config = Config(method=method, teacher=teacher, student=student)
  return published.with_defaults(config)


def run(
  config: Config | None = None, place: command.Place | None = None
) -> Study:
  """Runs the comparison; what notebooks call."""
  return command.run(
    config or Config(),
    place or command.Place(),
    name='experiments.cifar',
  )


if __name__ == '__main__':
  sys.exit(command.main(make_config, name='experiments.cifar', by_pair=True))
