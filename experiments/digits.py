"""Distillation in three minutes on a laptop: handwritten digits, no download.

  python -m experiments.digits --method=kd2m

The teacher has seen 100 images per class of scikit-learn's 8x8 digits; 10 per
class are left to train a student with a tenth of its weights. What was
measured: README.
"""

import dataclasses
import sys

from kdjax import methods
from kdjax.cli import command
from kdjax.methods import Kd2m, Method
from kdjax.studies import Study, StudyConfig
from kdjax.train import Recipe, RunSettings

# Per class: with few images the plain distance pairs images of different
# classes while the student is young. The weight counts in teacher's variances.
KD2M = Kd2m(metric='cw2', weight=30.0, scale='teacher_var')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(StudyConfig):
  """Digits: a small teacher, a smaller student, both with 16-d embeddings."""

  dataset: str = 'digits'
  teacher: str = 'convnet_32_64_16'
  student: str = 'convnet_8_16'
  method: Method = KD2M
  seeds: tuple[int, ...] = (0, 1, 2, 3, 4, 5)
  limit: int | None = 10
  teacher_limit: int | None = 100
  teacher_epochs: int | None = 60
  recipe: Recipe = Recipe(epochs=240)
  settings: RunSettings = RunSettings(evaluate_every=10, checkpoint_every=60)


def make_config(method: methods.Method) -> Config:
  """The defaults for a method."""
  return Config(method=KD2M if method == Kd2m() else method)


def run(
  config: Config | None = None, place: command.Place | None = None
) -> Study:
  """Runs the comparison; what the notebook calls."""
  return command.run(
    config or Config(),
    place or command.Place(),
    name='experiments.digits',
  )


if __name__ == '__main__':
  sys.exit(
    command.main(make_config, name='experiments.digits', share_cores=False)
  )
