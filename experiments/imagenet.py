"""ImageNet, and large sets like it: images are decoded while they are needed.

  python -m experiments.imagenet --method=fcfd --teacher_checkpoint=FILE

100 epochs of batches of 256, SGD 0.1 divided by 10 after 30, 60 and 90; random
windows of 224 pixels and flips, judged on the middle of 256. `--dataset` is
imagenet2012, as TFDS prepares it, or folder:PATH with train/CLASS/ and
val/CLASS/. `--data=synthetic` reads no image and times the steps alone. Where a
paper gives settings for a method on a pair, they are the defaults, and said.
Published top-1 in percent:

                            teacher  student    kd  lshfm   fcfd
  resnet34 to resnet18        73.31    69.76 70.66  71.72  72.24
  resnet50 to mobilenet_v1    76.16    68.87 68.58         73.37

How to prepare ImageNet, and what is read where: docs/imagenet.md.
"""

import dataclasses
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import tyro

from experiments import published
from kdjax.cli import command
from kdjax.data import Reading, StreamedDataset, load_imagenet, unread_imagenet
from kdjax.methods import Kd, Method
from kdjax.studies import Comparison, Study, StudyConfig, Timing
from kdjax.tasks import SingleLabel
from kdjax.train import Recipe

_NAME = 'experiments.imagenet'

RECIPE = Recipe(
  epochs=100,
  batch_size=256,
  learning_rate=0.1,
  weight_decay=1e-4,
  decay_at=(0.3, 0.6, 0.9),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(StudyConfig):
  """ResNet-34 to ResNet-18.

  Attributes:
    data: Where images come from: `streamed` from the dataset, or `synthetic`,
      made on the device, which times steps and trains nothing.
    timed_steps: How many, for synthetic images.
    image_size: Height and width of what networks see; judged on the middle of
      images whose shorter side is 256/224 of it.
    reading: How images are decoded.
  """

  dataset: str = 'imagenet2012'
  data: Literal['streamed', 'synthetic'] = 'streamed'
  teacher: str = 'imagenet_resnet34'
  student: str = 'imagenet_resnet18'
  method: Method = Kd()
  recipe: Recipe = RECIPE
  timed_steps: int = 50
  image_size: int = 224
  reading: Annotated[Reading, tyro.conf.arg(name='')] = Reading()

  def __post_init__(self):
    """Checks what can be checked before anything is loaded."""
    super().__post_init__()
    if self.timed_steps < 1:
      raise ValueError(f'timed_steps must be positive, got {self.timed_steps}.')

  @property
  def task(self) -> SingleLabel:
    """Top-1, and top-5 beside it."""
    return SingleLabel(top=5)

  @property
  def loading(self) -> str:
    """What is said before the set is loaded, or made."""
    synthetic = self.data == 'synthetic'
    return 'Images are made on the device' if synthetic else super().loading

  def load(self, limit: int | None) -> StreamedDataset:
    """The set; its images stay on disk."""
    if self.data == 'synthetic':
      return unread_imagenet(self.image_size)
    return load_imagenet(
      self.dataset,
      size=self.image_size,
      data_dir=self.data_dir,
      reading=self.reading,
      limit=limit,
    )


def make_config(
  method: Method,
  teacher: str = Config.teacher,
  student: str = Config.student,
) -> Config:
  """The defaults for a method on a pair."""
  config = Config(method=method, teacher=teacher, student=student)
  return published.with_defaults(config)


def work(config: Config, *arguments: Any, **more: Any) -> command.Work:
  """What is done: a comparison, or the timing of its steps."""
  if config.data == 'synthetic':
    return Timing(config, *arguments, steps=config.timed_steps, **more)
  return Comparison(config, *arguments, **more)


def run(
  config: Config | None = None, place: command.Place | None = None
) -> Study:
  """Runs the comparison, or times its steps; what notebooks call."""
  return command.run(
    config or Config(), place or command.Place(), name=_NAME, work=work
  )


def main(argv: Sequence[str] | None = None) -> int:
  """The command."""
  return command.main(
    make_config,
    name=_NAME,
    default_method='kd',
    argv=argv,
    work=work,
    by_pair=True,
  )


if __name__ == '__main__':
  sys.exit(main())
