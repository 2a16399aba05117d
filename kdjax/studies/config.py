"""What a comparison compares; its fields are the flags of the commands."""

import dataclasses
import pathlib
from typing import Any, Literal

from kdjax import data, methods
from kdjax.methods import Method
from kdjax.studies.schedule import Together
from kdjax.tasks import SingleLabel, Task
from kdjax.train.frozen import FoldUse
from kdjax.train.recipe import Recipe
from kdjax.train.run import RunSettings
from kdjax.train.teacher_table import TableUse


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyConfig:
  """One comparison. Stored beside its results.

  Attributes:
    dataset: A name of `kdjax.data.load.RECIPES`, folder:PATH or npz:PATH.
    teacher: Its network.
    student: Its network.
    teacher_checkpoint: A file or folder to take the teacher from: safetensors,
      .npz, PyTorch, a run folder, an orbax folder; see `kdjax.convert.load`.
      Without one it is trained once and kept for later commands.
    allow_partial: Take what of the checkpoint matches the teacher and leave the
      rest at random.
    teacher_init: A checkpoint that a teacher which is trained here starts from,
      such as weights of ImageNet; its classifier is drawn afresh if that has
      other classes.
    student_init: The same for the students.
    teacher_mean: Per channel, what is subtracted from the teacher's images in
      [0, 1]; without, what its checkpoint or published weights of its name
      were trained with, or else the set's.
    teacher_std: What they are divided by; given together with the mean.
    method: How the student learns from the teacher.
    seeds: Of the student's weights, order and augmentation, one run each; the
      teacher has its own.
    limit: Training images per class; all of them without.
    teacher_limit: The teacher's, if it is trained here; as the students'
      without. A teacher usually has seen more than is left for its student.
    data_dir: Where TFDS keeps its prepared sets; its own default without.
    precision: Of the networks' arithmetic; weights and losses are float32.
    fold_teacher: Whether batch norm of the frozen teacher is folded into its
      convolutions: `auto` on accelerators; on a CPU it saves nothing.
    teacher_table: Whether the teacher's outputs on all views of all images are
      computed once and looked up: `auto` where that pays and fits, on the
      `device` or in the memory of the `host` where the method lets it be.
    together: Which seeds of a method train at once: `auto` puts each on a
      device of its own where more than half of the devices get one and no
      cores share its batches; `vmap` makes one batched computation of all;
      `never` trains one after the other, each on all devices.
    recipe: How the students are optimised, and the teacher if it is trained.
    teacher_epochs: The teacher's epochs; the recipe's without.
    teacher_learning_rate: The teacher's; the recipe's without.
    settings: How often runs are evaluated and saved.
  """

  dataset: str
  teacher: str
  student: str
  teacher_checkpoint: pathlib.Path | None = None
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
  precision: Literal['float32', 'bfloat16'] = 'float32'
  fold_teacher: FoldUse = 'auto'
  teacher_table: TableUse = 'auto'
  together: Together = 'auto'
  recipe: Recipe = Recipe()
  teacher_epochs: int | None = None
  teacher_learning_rate: float | None = None
  settings: RunSettings = RunSettings()

  def __post_init__(self):
    """Checks what can be checked before anything is loaded."""
    if not self.seeds:
      raise ValueError('seeds must be different and at least one, got none.')
    check_seeds(self.seeds)
    for name in ('limit', 'teacher_limit'):
      value = getattr(self, name)
      if value is not None and value < 1:
        raise ValueError(
          f'{name} is training images per class, at least 1, got {value}.'
        )
    if self.allow_partial and self.teacher_checkpoint is None:
      raise ValueError('allow_partial is about a teacher_checkpoint; give one.')
    if self.teacher_init is not None and self.teacher_checkpoint is not None:
      raise ValueError(
        'teacher_init is where a teacher begins to train, teacher_checkpoint '
        'one that is trained; give one of them.'
      )
    if self.teacher_epochs is not None and self.teacher_epochs < 1:
      raise ValueError(
        f'teacher_epochs must be at least 1, got {self.teacher_epochs}.'
      )
    if self.teacher_learning_rate is not None:
      _ = self.teacher_recipe  # which checks it

  @property
  def title(self) -> str:
    """What names a new work folder of it."""
    return name_of(self.method)

  @property
  def task(self) -> Task:
    """What the networks are trained for."""
    return SingleLabel()

  @property
  def network_options(self) -> dict[str, Any]:
    """What both networks are made with besides their names."""
    return {}

  @property
  def loading(self) -> str:
    """What is said before the set is loaded."""
    return f'Loading {self.dataset}'

  def load(self, limit: int | None) -> data.Dataset | data.StreamedDataset:
    """The set, with at most `limit` training images per class."""
    return data.load(self.dataset, data_dir=self.data_dir, limit=limit)

  @property
  def arms(self) -> dict[str, Method]:
    """The methods that are compared with the student alone, by name."""
    return {name_of(self.method): self.method}

  def numbers(self, arm: str) -> dict[str, float]:
    """Settings of an arm that are arguments of its program, by name.

    Arms in a row that differ in these alone share a program, and train at once
    as their seeds do; see `kdjax.train.numbers`.
    """
    del arm
    return {}

  @property
  def teacher_recipe(self) -> Recipe:
    """The recipe with the teacher's own settings; a teacher is not averaged."""
    rate = self.teacher_learning_rate
    return dataclasses.replace(
      self.recipe,
      epochs=self.teacher_epochs or self.recipe.epochs,
      learning_rate=self.recipe.learning_rate if rate is None else rate,
      average_last=None,
    ).without_stages()


def check_seeds(seeds: tuple[int, ...]) -> None:
  """Raises a `ValueError` unless seeds are different and make keys."""
  if len(set(seeds)) < len(seeds):
    raise ValueError(f'seeds must be different and at least one, got {seeds}.')
  # JAX takes 32 bits.
  if any(not 0 <= seed < 2**32 for seed in seeds):
    raise ValueError(
      f'seeds must be zero or more, and below 2**32, got {seeds}.'
    )


def name_of(method: Method) -> str:
  """The name by which a method is asked for."""
  for name, made in methods.METHODS.items():
    if type(method) is made:
      return name
  return type(method).__name__
