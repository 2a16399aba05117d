"""ImageNet and other large datasets; images are decoded during training.

  python -m experiments.imagenet --method=fcfd --teacher_checkpoint=FILE

100 epochs of batches of 256, SGD with learning rate 0.1, divided by 10 after
epochs 30, 60 and 90; random windows of 224 pixels and flips in training, the
central window of 256 pixels in evaluation. `--data=synthetic` reads no images
and times the training steps. Settings that a paper gives for a method on a pair
of networks are the defaults of that pair and are printed. Published top-1
accuracy in percent:

                            teacher  student    kd  lshfm   fcfd
  resnet34 to resnet18        73.31    69.76 70.66  71.72  72.24
  resnet50 to mobilenet_v1    76.16    68.87 68.58         73.37

Preparation of ImageNet and its folders: docs/imagenet.md.
"""

import dataclasses
import sys
from typing import Annotated, Literal

import tyro

from experiments import pair_presets
from kdjax.cli.command import Command, Work
from kdjax.data import Reading, StreamedDataset, load_imagenet, unread_imagenet
from kdjax.methods import Kd, Method
from kdjax.studies import Comparison, Session, StudyConfig, Timing
from kdjax.tasks import SingleLabel
from kdjax.train import Recipe

RECIPE = Recipe(
  epochs=100,
  batch_size=256,
  learning_rate=0.1,
  weight_decay=1e-4,
  decay_at=(0.3, 0.6, 0.9),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(StudyConfig):
  """Settings of `experiments.imagenet`.

  Attributes:
    dataset: Dataset: imagenet2012 as TFDS prepares it, or folder:PATH with
      train/CLASS/ and val/CLASS/.
    data: Source of images: `streamed` reads the dataset; `synthetic` makes them
      on the device, times training steps and trains nothing.
    timed_steps: Number of training steps that are timed with --data=synthetic.
    image_size: Height and width in pixels of the networks' images. Evaluation
      images are resized to a shorter side of 256/224 of it and cropped.
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
    """Checks the settings before anything is loaded."""
    super().__post_init__()
    if self.channels == 'gray':
      raise ValueError(
        'channels must be rgb: streamed images are read in color, got gray.'
      )
    if self.timed_steps < 1:
      raise ValueError(f'timed_steps must be positive, got {self.timed_steps}.')

  @property
  def task(self) -> SingleLabel:
    """Classification, with top-5 accuracy."""
    return SingleLabel(top=5)

  @property
  def loading(self) -> str:
    """Message before the dataset is loaded or made."""
    synthetic = self.data == 'synthetic'
    return 'Images are made on the device' if synthetic else super().loading

  def load(self, limit: int | None) -> StreamedDataset:
    """Returns the dataset; its images stay on disk."""
    if self.data == 'synthetic':
      return unread_imagenet(self.image_size)
    return load_imagenet(
      self.dataset,
      size=self.image_size,
      data_dir=self.data_dir,
      reading=self.reading,
      limit=limit,
    )


def work(config: Config, session: Session) -> Work:
  """Returns the comparison, or the timing of its steps."""
  if config.data == 'synthetic':
    return Timing(config, session, steps=config.timed_steps)
  return Comparison(config, session)


COMMAND = Command(
  name='experiments.imagenet',
  description=__doc__,
  config=Config,
  deciding=('method', 'teacher', 'student'),
  presets=pair_presets.presets,
  work=work,
)


if __name__ == '__main__':
  sys.exit(COMMAND.main())
