"""Distillation in three minutes on a laptop: handwritten digits, no download.

  python -m experiments.digits --method=kd2m

The teacher is trained on 100 images per class of scikit-learn's 8x8 digits, and
a student with a tenth of its parameters on 10 per class. Measured accuracies:
README.
"""

import dataclasses
import sys

from kdjax.cli.command import Command
from kdjax.cli.defaults import Default
from kdjax.methods import Kd2m, Method
from kdjax.studies import StudyConfig
from kdjax.train import Recipe, RunSettings

# Per class: with few images the distance of whole batches pairs images of
# different classes early in training.
KD2M = Kd2m(metric='cw2', scale='teacher_var')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(StudyConfig):
  """Settings of `experiments.digits`; both networks have 16-d embeddings."""

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


def presets(config: Config) -> list[Default]:
  """Returns the metric of KD²M; its weight follows from the metric."""
  if not isinstance(config.method, Kd2m):
    return []
  source = 'kd2m on few images of each class'
  return [
    Default('method.metric', KD2M.metric, source),
    Default('method.scale', KD2M.scale, source),
  ]


COMMAND = Command(
  name='experiments.digits',
  description=__doc__,
  config=Config,
  deciding=('method',),
  presets=presets,
  share_cores=False,
)


if __name__ == '__main__':
  sys.exit(COMMAND.main())
