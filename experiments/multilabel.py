"""Multi-label recognition: any number of classes per image, in two stages.

  python -m experiments.multilabel --dataset=coco:FOLDER --method=lshfm

Wang, Ge and Wu, Distilling Knowledge by Mimicking Features, 2022: networks with
ImageNet weights (`--teacher_init`, `--student_init`), images of 448 pixels,
flips and color jitter. First the layers that join the two networks are trained
alone (`--align_epochs`), then everything. Images are decoded during training.
The defaults of recipe and method depend on the dataset and are printed.
Published mAP in percent, ResNet-101 as teacher:

             teacher  ResNet-50  MobileNetV2
  VOC 2007     93.27      93.17        90.14
  COCO 2014    77.67      77.16        73.73
"""

import dataclasses
import sys
from typing import Annotated, Any, Literal

import tyro

from kdjax import data
from kdjax.cli.command import Command
from kdjax.cli.defaults import Default
from kdjax.methods import Kd, Lshfm, Method
from kdjax.studies import StudyConfig
from kdjax.studies.config import name_of
from kdjax.tasks import MultiLabel
from kdjax.train import RunSettings, StagedRecipe

RECIPE = StagedRecipe(
  epochs=60, learning_rate=0.01, weight_decay=1e-5, schedule='cosine'
)
VOC = {'recipe.batch_size': 16, 'recipe.weight_decay': 1e-5}
COCO = {'recipe.batch_size': 32, 'recipe.weight_decay': 1e-4}
# The published code softens classes with a softmax.
KD = {'method.task_weight': 1.0, 'method.weight': 0.001}
# "Right" is not defined for several labels, hence no `_s`.
LSHFM = {'method.loss': 'lshl2', 'method.head': '2fc'}
LSHFM_VOC = LSHFM | {'method.weight': 0.5, 'method.hashes': 8192}
LSHFM_COCO = LSHFM | {'method.weight': 3.0, 'method.hashes': 2048}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(StudyConfig):
  """Settings of `experiments.multilabel`.

  Attributes:
    dataset: Dataset: voc2007, coco2014, or coco:FOLDER with boxes in COCO's
      format. It decides defaults of the recipe and the method.
    image_size: Height and width in pixels that images are resized to, without a
      crop.
    pooling: Pooling of the last feature maps of both networks over the whole
      image: `gap` mean, `gmp` maximum, `gwp` mean of both (default: each
      network's own).
    keep_unlabelled: Keep images without any label.
    reading: How images are decoded.
  """

  dataset: str = 'voc2007'
  teacher: str = 'imagenet_resnet101'
  student: str = 'imagenet_resnet50'
  method: Method = Lshfm()
  recipe: StagedRecipe = RECIPE
  settings: RunSettings = RunSettings()
  image_size: int = 448
  pooling: Literal['gap', 'gmp', 'gwp'] | None = None
  keep_unlabelled: bool = False
  reading: Annotated[data.Reading, tyro.conf.arg(name='')] = data.Reading()

  def __post_init__(self):
    """Checks the settings before anything is loaded."""
    super().__post_init__()
    if self.channels == 'gray':
      raise ValueError(
        'channels must be rgb: streamed images are read in color, got gray.'
      )
    if self.limit is not None or self.teacher_limit is not None:
      raise ValueError(
        'limit counts images per class, and these have several classes each; '
        'give a smaller dataset by --dataset=coco:FOLDER.'
      )

  @property
  def task(self) -> MultiLabel:
    """Multi-label recognition; VOC uses the envelope of precision."""
    return MultiLabel(envelope=self.dataset == 'voc2007')

  @property
  def network_options(self) -> dict[str, Any]:
    """Options of `models.create` for both networks."""
    return {} if self.pooling is None else {'pooling': self.pooling}

  def load(self, limit: int | None) -> data.StreamedDataset:
    """Returns the dataset; its images stay on disk."""
    del limit  # checked above
    return data.load_multi_label(
      self.dataset,
      size=self.image_size,
      data_dir=self.data_dir,
      reading=self.reading,
      keep_unlabelled=self.keep_unlabelled,
    )


def presets(config: Config) -> list[Default]:
  """Returns the settings of the paper for a dataset and a method."""
  voc = config.dataset == 'voc2007'
  settings = VOC if voc else COCO
  if isinstance(config.method, Kd):
    settings = settings | KD
  elif isinstance(config.method, Lshfm):
    settings = settings | (LSHFM_VOC if voc else LSHFM_COCO)
  source = (
    f'{name_of(config.method)} on {"VOC 2007" if voc else "COCO 2014"} (Wang, '
    'Ge and Wu, 2022)'
  )
  return [Default(name, value, source) for name, value in settings.items()]


COMMAND = Command(
  name='experiments.multilabel',
  description=__doc__,
  config=Config,
  deciding=('method', 'dataset'),
  presets=presets,
)


if __name__ == '__main__':
  sys.exit(COMMAND.main())
