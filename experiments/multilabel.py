"""Multi-label recognition: any number of classes per image, in two stages.

  python -m experiments.multilabel --dataset=coco:FOLDER --method=lshfm

Wang, Ge and Wu, Distilling Knowledge by Mimicking Features, 2022: networks that
start from weights of ImageNet (`--teacher_init`, `--student_init`), images of
448 pixels, flips and colours; first the part that joins the two networks is
trained alone (`--align_epochs`), then everything. Images are decoded while they
are needed. `--dataset` is voc2007, coco2014 or coco:FOLDER with boxes in COCO's
format; the defaults follow it. Published mAP in percent, ResNet-101 as teacher:

             teacher  ResNet-50  MobileNetV2
  VOC 2007     93.27      93.17        90.14
  COCO 2014    77.67      77.16        73.73
"""

import dataclasses
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import tyro

from kdjax import data, methods
from kdjax.cli import command
from kdjax.methods import Kd, Lshfm, Method
from kdjax.studies import Study, StudyConfig
from kdjax.tasks import MultiLabel
from kdjax.train import RunSettings, StagedRecipe

COCO = StagedRecipe(
  epochs=60,
  batch_size=32,
  learning_rate=0.01,
  weight_decay=1e-4,
  schedule='cosine',
)
VOC = dataclasses.replace(COCO, batch_size=16, weight_decay=1e-5)
# The soft targets are those of the published code: a softmax over classes.
SOFT_TARGETS = Kd(task_weight=1.0, weight=0.001)
# Which images are right is no question here, and the two layers are forced.
MIMIC = Lshfm(weight=3.0, loss='lshl2', hashes=2048, head='2fc')
MIMIC_VOC = dataclasses.replace(MIMIC, weight=0.5, hashes=8192)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(StudyConfig):
  """ResNet-101 to ResNet-50 on VOC 2007.

  Attributes:
    image_size: Height and width that images are brought to, without a crop.
    pooling: Of both networks' last maps, over the whole image: their mean,
      maximum, or half of both. The networks' own without, which is the mean but
      for class tokens and the windows of cifar100_resnet*.
    keep_unlabelled: Whether images without any label stay in the set.
    reading: How images are decoded.
  """

  dataset: str = 'voc2007'
  teacher: str = 'imagenet_resnet101'
  student: str = 'imagenet_resnet50'
  method: Method = MIMIC_VOC
  recipe: StagedRecipe = dataclasses.replace(VOC, align_factor=2.0)
  settings: RunSettings = RunSettings()
  image_size: int = 448
  pooling: Literal['gap', 'gmp', 'gwp'] | None = None
  keep_unlabelled: bool = False
  reading: Annotated[data.Reading, tyro.conf.arg(name='')] = data.Reading()

  def __post_init__(self):
    """Checks what can be checked before anything is loaded."""
    super().__post_init__()
    if self.limit is not None or self.teacher_limit is not None:
      raise ValueError(
        'limit counts images per class, and these have several classes each; '
        'give a smaller set by --dataset=coco:FOLDER.'
      )

  @property
  def task(self) -> MultiLabel:
    """VOC judges by the envelope of precision, COCO does not."""
    return MultiLabel(envelope=self.dataset == 'voc2007')

  @property
  def network_options(self) -> dict[str, Any]:
    """How both networks pool."""
    return {} if self.pooling is None else {'pooling': self.pooling}

  def load(self, limit: int | None) -> data.StreamedDataset:
    """The set; its images stay on disk."""
    del limit  # checked above
    return data.load_multi_label(
      self.dataset,
      size=self.image_size,
      data_dir=self.data_dir,
      reading=self.reading,
      keep_unlabelled=self.keep_unlabelled,
    )


def make_config(method: methods.Method, dataset: str = 'voc2007') -> Config:
  """The defaults for a method and a set."""
  of_voc = dataset == 'voc2007'
  recipe = VOC if of_voc else COCO
  if method == Kd():
    method = SOFT_TARGETS
  elif method == Lshfm():
    method = MIMIC_VOC if of_voc else MIMIC
    # The first stage has the weight 1.
    recipe = dataclasses.replace(recipe, align_factor=2.0 if of_voc else 1 / 3)
  return Config(dataset=dataset, method=method, recipe=recipe)


def run(
  config: Config | None = None, place: command.Place | None = None
) -> Study:
  """Runs the comparison; what notebooks call."""
  return command.run(
    config or Config(),
    place or command.Place(),
    name='experiments.multilabel',
  )


def main(argv: Sequence[str] | None = None) -> int:
  """The command; its defaults depend on the set that is asked for."""
  given = sys.argv[1:] if argv is None else argv
  named = [a.removeprefix('--dataset=') for a in given if '--dataset=' in a]

  def config_of(method: methods.Method) -> Config:
    return make_config(method, *named[-1:])

  return command.main(
    config_of, name='experiments.multilabel', default_method='lshfm', argv=argv
  )


if __name__ == '__main__':
  sys.exit(main())
