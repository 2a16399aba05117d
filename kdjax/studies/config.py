"""Settings of a comparison; its fields are the flags of the commands."""

import dataclasses
import math
import pathlib
from typing import Any, Literal

from kdjax import data, methods
from kdjax.methods import Method
from kdjax.studies.schedule import Together
from kdjax.tasks import SingleLabel, Task
from kdjax.train.folding import FoldUse
from kdjax.train.recipe import Recipe
from kdjax.train.run import RunSettings
from kdjax.train.teacher_table import TableUse


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyConfig:
  """Comparison of a student trained alone with distilled students.

  Attributes:
    dataset: Dataset: cifar10, cifar100, svhn_cropped, stl10, tiny_imagenet,
      digits, folder:PATH (with train/CLASS/*.png and test/CLASS/*.png) or
      npz:PATH.
    teacher: Teacher network, e.g. resnet32x4; `kdjax.models.NETWORKS` lists
      all.
    student: Student network, e.g. resnet8x4; `kdjax.models.NETWORKS` lists all.
    teacher_checkpoint: Weights of the teacher: a safetensors, .npz or PyTorch
      file, a run folder or an orbax folder (default: the teacher is trained
      once and kept for later commands).
    prefix: Beginning of the names of the teacher's weights in a
      --teacher_checkpoint of several networks, e.g. module.teacher (default:
      all are the teacher's).
    allow_partial: Load what of --teacher_checkpoint matches the teacher, and
      initialize the rest at random, instead of refusing it.
    teacher_init: Weights from which a teacher is trained, e.g. of ImageNet, in
      a format of --teacher_checkpoint; a classifier of other classes is
      initialized at random (default: all weights at random).
    student_init: Weights from which students are trained, in a format of
      --teacher_checkpoint; a classifier of other classes is initialized at
      random (default: all weights at random).
    teacher_mean: Mean of each channel, subtracted from the teacher's images in
      [0, 1] (default: that of its checkpoint or of published weights of its
      name, else that of the dataset).
    teacher_std: Standard deviation of each channel, which the teacher's images
      are divided by; needed with --teacher_mean (default: chosen as the mean).
    method: Settings of the distillation method.
    seeds: Seeds of initial weights, order and augmentation of the students, one
      run for each. The teacher has a seed of its own.
    limit: Training images per class (default: all).
    teacher_limit: Training images per class of a teacher that is trained here
      (default: --limit).
    data_dir: Folder of prepared TFDS datasets (default: TFDS's own).
    channels: Channels of the images of a dataset in memory, rgb or gray
      (default: their own; rgb if any image of a folder is in color).
    precision: Arithmetic of the networks, float32 or bfloat16; weights and
      losses are float32.
    fold_teacher: Whether batch norm of the frozen teacher is folded into its
      convolutions: `always`, `never`, or `auto`, on accelerators only.
    teacher_table: Whether the teacher's outputs for all views of all images are
      computed once and stored: `device` stores them on the devices, `never`
      computes them in each step, `auto` stores them if that saves time and they
      fit.
    together: Which runs of a method train concurrently: `auto` trains each on
      its own device if more than half of the devices get one and no CPU cores
      share batches; `never` trains them sequentially, each on all devices.
    recipe: How the students are optimized, and the teacher if it is trained.
    teacher_epochs: Epochs of a teacher that is trained here (default:
      --epochs).
    teacher_learning_rate: Learning rate of a teacher that is trained here
      (default: --learning_rate).
    settings: How often runs are evaluated and saved.
  """

  dataset: str
  teacher: str
  student: str
  teacher_checkpoint: pathlib.Path | None = None
  prefix: str | None = None
  allow_partial: bool = False
  teacher_init: pathlib.Path | None = None
  student_init: pathlib.Path | None = None
  teacher_mean: tuple[float, ...] = ()
  teacher_std: tuple[float, ...] = ()
  method: Method
  seeds: tuple[int, ...] = (0,)
  limit: int | None = None
  teacher_limit: int | None = None
  data_dir: pathlib.Path | None = None
  channels: data.Channels | None = None
  precision: Literal['float32', 'bfloat16'] = 'float32'
  fold_teacher: FoldUse = 'auto'
  teacher_table: TableUse = 'auto'
  together: Together = 'auto'
  recipe: Recipe = Recipe()
  teacher_epochs: int | None = None
  teacher_learning_rate: float | None = None
  settings: RunSettings = RunSettings()

  def __post_init__(self):
    """Checks the settings before anything is loaded."""
    if not self.seeds:
      raise ValueError('seeds must be different and at least one, got none.')
    check_seeds(self.seeds)
    for name in ('limit', 'teacher_limit'):
      value = getattr(self, name)
      if value is not None and value < 1:
        raise ValueError(
          f'{name} is training images per class, at least 1, got {value}.'
        )
    for name in ('allow_partial', 'prefix'):
      if getattr(self, name) and self.teacher_checkpoint is None:
        raise ValueError(f'{name} is about a teacher_checkpoint; give one.')
    if self.teacher_init is not None and self.teacher_checkpoint is not None:
      raise ValueError(
        'teacher_init is where a teacher begins to train, teacher_checkpoint '
        'one that is trained; give one of them.'
      )
    if self.teacher_epochs is not None and self.teacher_epochs < 1:
      raise ValueError(
        f'teacher_epochs must be at least 1, got {self.teacher_epochs}.'
      )
    rate = self.teacher_learning_rate
    if rate is not None and not 0 < rate < math.inf:
      raise ValueError(f'teacher_learning_rate must be positive, got {rate}.')

  @property
  def title(self) -> str:
    """Description in the name of a new work folder."""
    return name_of(self.method)

  @property
  def task(self) -> Task:
    """Task of the networks: its loss and its scores."""
    return SingleLabel()

  @property
  def network_options(self) -> dict[str, Any]:
    """Options of `models.create` for both networks."""
    return {}

  @property
  def loading(self) -> str:
    """Message before the dataset is loaded."""
    return f'Loading {self.dataset}'

  def load(self, limit: int | None) -> data.Dataset | data.StreamedDataset:
    """Returns the dataset.

    Args:
      limit: Training images per class (default: all).
    """
    return data.load(
      self.dataset,
      data_dir=self.data_dir,
      limit=limit,
      channels=self.channels,
    )

  @property
  def arms(self) -> dict[str, Method]:
    """Methods to compare with the student alone, by the name of the arm."""
    return {name_of(self.method): self.method}

  def numbers(self, arm: str) -> dict[str, float]:
    """Returns the swept numbers of an arm: float settings, `learning_rate`.

    Consecutive arms that differ only in these share one compiled program, and
    train at once as the seeds of an arm do.

    Args:
      arm: Name of the arm.
    """
    del arm
    return {}

  @property
  def teacher_recipe(self) -> Recipe:
    """Recipe of the teacher, which has no averaged weights and one stage."""
    rate = self.teacher_learning_rate
    return dataclasses.replace(
      self.recipe,
      epochs=self.teacher_epochs or self.recipe.epochs,
      learning_rate=self.recipe.learning_rate if rate is None else rate,
      average_last=None,
    ).without_stages()


def check_seeds(seeds: tuple[int, ...]) -> None:
  """Raises a `ValueError` unless seeds are different and make JAX keys."""
  if len(set(seeds)) < len(seeds):
    raise ValueError(f'seeds must be different and at least one, got {seeds}.')
  # JAX takes 32 bits.
  if any(not 0 <= seed < 2**32 for seed in seeds):
    raise ValueError(
      f'seeds must be zero or more, and below 2**32, got {seeds}.'
    )


def name_of(method: Method) -> str:
  """Returns the name that `--method` chooses a method by."""
  for name, made in methods.METHODS.items():
    if type(method) is made:
      return name
  return type(method).__name__
