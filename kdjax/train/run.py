"""Description of one run: program, data and folder."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import tyro
from etils import epath

from kdjax.data import Split, StreamedSplit
from kdjax.runtime import run_folder
from kdjax.runtime.mesh import Devices
from kdjax.train.epochs import Epochs
from kdjax.train.recipe import Recipe
from kdjax.train.teacher_table import TeacherTable
from kdjax.typing import PyTree

# Name of the learning rate among the swept settings; others are the method's.
LEARNING_RATE = 'learning_rate'


@tyro.conf.configure(tyro.conf.OmitArgPrefixes)  # as for `Recipe`
@dataclasses.dataclass(frozen=True, kw_only=True)
class RunSettings:
  """Intervals at which a run is evaluated and saved.

  Attributes:
    evaluate_every: Epochs between evaluations; the last epoch is always
      evaluated.
    checkpoint_every: Epochs between checkpoints; the last epoch is always
      saved.
  """

  evaluate_every: int = 1
  checkpoint_every: int = 1

  def __post_init__(self):
    """Checks the settings, which would otherwise fail after an epoch."""
    for name in ('evaluate_every', 'checkpoint_every'):
      if getattr(self, name) < 1:
        raise ValueError(
          f'{name} must be at least 1, got {getattr(self, name)}.'
        )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Run:
  """One network trained from one random key, in one folder.

  `kdjax.train.loop.train` trains it.

  Attributes:
    folder: Folder of all files of the run.
    epochs: The compiled epochs, shared by runs that differ in what follows.
    recipe: How the network is optimized.
    test: The evaluation split.
    teacher_variables: Variables of the frozen teacher, on the host; empty
      without one.
    key: Random key of weights, order and augmentation.
    about: Content of `config.json`; must not change on a resume.
    settings: How often the run is evaluated and saved.
    pretrained: Newly initialized variables of the student to those that it
      starts from, where runs of one program start differently (default: the
      student's own).
    swept: Float settings of the method by name, and `learning_rate`, in which
      runs of one program differ.
    table: Table of the teacher's outputs, shared by runs of one teacher
      (default: the teacher runs in each step).
  """

  folder: epath.Path
  epochs: Epochs
  recipe: Recipe
  test: Split | StreamedSplit
  teacher_variables: PyTree
  key: jax.Array
  about: Mapping[str, Any]
  settings: RunSettings
  pretrained: Callable[[PyTree], PyTree] | None = None
  swept: Mapping[str, float] = dataclasses.field(default_factory=dict)
  table: TeacherTable | None = None

  @property
  def total_steps(self) -> int:
    """Number of steps of all epochs."""
    return self.epochs.steps_per_epoch * self.recipe.all_epochs

  @property
  def learning_rate_factor(self) -> float:
    """Factor of the recipe's learning rate, by which swept rates differ."""
    rate = self.recipe.learning_rate
    return self.swept.get(LEARNING_RATE, rate) / rate

  def on(self, devices: Devices) -> 'Run':
    """Returns the same run on other devices."""
    return dataclasses.replace(self, epochs=self.epochs.on(devices))

  def finished(self) -> bool:
    """Returns whether the run has ended; collective.

    It has not if its weights are gone and its last checkpoint is not.

    Raises:
      ValueError: If the folder holds a run of another configuration.
    """
    devices = self.epochs.program.devices
    return devices.any(
      devices.is_main
      and run_folder.has_ended(self.folder, self.about)
      and not self._can_rebuild()
    )

  def _can_rebuild(self) -> bool:
    student = epath.Path(self.folder) / 'student'
    return not student.exists() and run_folder.steps_done(self.folder) > 0

  def diverged_at(self) -> int | None:
    """Returns the step at which the run diverged before, if so; collective."""
    devices = self.epochs.program.devices
    step = run_folder.diverged_at(self.folder) if devices.is_main else None
    step = devices.of_first(-1 if step is None else step)
    return None if step < 0 else step

  def epochs_left(self) -> int:
    """Returns the epochs after the newest checkpoint; collective."""
    devices = self.epochs.program.devices
    done = run_folder.steps_done(self.folder) if devices.is_main else 0
    done = devices.of_first(done) // self.epochs.steps_per_epoch
    return max(0, self.recipe.all_epochs - done)


def count_parameters(params: PyTree) -> int:
  """Returns the number of elements of a tree of arrays."""
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
