"""A comparison over seeds: teacher, student alone, distilled students."""

import dataclasses
import functools
import itertools
from collections.abc import Hashable, Iterable, Mapping

import jax

from kdjax import methods
from kdjax.methods import Method
from kdjax.methods.settings import with_settings
from kdjax.names import check_run_name
from kdjax.runtime import files
from kdjax.studies import teacher as teacher_lib
from kdjax.studies.config import StudyConfig
from kdjax.studies.schedule import train_all
from kdjax.studies.session import Session, Study
from kdjax.studies.setup import Setup
from kdjax.studies.teacher import Teacher
from kdjax.train.epochs import Epochs
from kdjax.train.folding import inference_variables
from kdjax.train.run import LEARNING_RATE, Run
from kdjax.train.teacher_table import TeacherTable


class Comparison:
  """All runs of one comparison, in one work folder.

  Args:
    config: Configuration of the comparison.
    session: The call of the command.

  Raises:
    ValueError: If the configuration is invalid.
  """

  def __init__(self, config: StudyConfig, session: Session):
    self.config = config
    self.session = session
    _check_arms(config.arms)
    self.setup = Setup(config, session)
    self.arms = {
      arm: method
      for arm, method in config.arms.items()
      if method.needs_teacher  # the others are the student alone
    }
    for arm, method in self.arms.items():  # before their teacher is trained
      self.setup.check_memory(arm, method)

  def run(self) -> Study:
    """Trains all runs, except those that have ended.

    Raises:
      ValueError: If the configuration is invalid.
      DivergedError: If the loss of the teacher stops being finite. A student
        that diverges is named in the result, and the others are trained.
      Interrupted: If a signal requested a stop.
    """
    _ = self._student_start  # a mistake there costs no teacher
    teacher = teacher_lib.obtain(self.setup) if self.arms else None
    diverged = self._train({'student': methods.Supervised()}, None)
    for _, arms in itertools.groupby(self.arms, self._program_key):
      diverged += self._train({arm: self.arms[arm] for arm in arms}, teacher)
    return Study(self.session.workdir, diverged=tuple(diverged))

  def _program_key(self, arm: str) -> Hashable:
    """Returns the settings of an arm's program: all but swept numbers."""
    swept = tuple(self.config.numbers(arm))
    if not swept:
      return arm
    own = {name: 0.0 for name in swept if name != LEARNING_RATE}
    return swept, with_settings(self.arms[arm], own)

  def _train(
    self, arms: Mapping[str, Method], teacher: Teacher | None
  ) -> list[str]:
    """Trains the students of arms that share a program; see `train_all`."""
    method, table = next(iter(arms.values())), None
    epochs = self.setup.epochs(
      self.setup.student,
      None if teacher is None else self.setup.teacher,
      method,
      self.setup.recipe_for(method),
    )
    if teacher is not None:
      variables = inference_variables(
        self.setup.teacher,
        teacher.variables,
        self.setup.dataset.image_shape,
        use=self.config.fold_teacher,
        method=method,
      )
      teacher = dataclasses.replace(teacher, variables=variables)
      table = TeacherTable(
        self.config.teacher_table,
        lambda: sum(run.epochs_left() for run in runs),
        self.session.progress.say,
      )
    runs = [
      self._run(epochs, arm, method, seed, teacher, table)
      for arm, method in arms.items()
      for seed in self.config.seeds
    ]
    return train_all(
      runs, self.session.request, self.session.progress, self.config.together
    )

  def _run(
    self,
    epochs: Epochs,
    arm: str,
    method: Method,
    seed: int,
    teacher: Teacher | None,
    table: TeacherTable | None,
  ) -> Run:
    config, setup = self.config, self.setup
    recipe, swept = setup.recipe_for(method), config.numbers(arm)
    rate = swept.get(LEARNING_RATE, recipe.learning_rate)
    role = 'student' if teacher is None else 'distilled'
    about = {
      **setup.about(arm, role, setup.student, seed),
      'method': files.to_json(method),
      'recipe': files.to_json(dataclasses.replace(recipe, learning_rate=rate)),
      'limit': config.limit,
      'data': setup.dataset.fingerprint,
      **self._student_start,
    }
    if teacher is not None:
      about['teacher'] = config.teacher
      about['teacher_hash'] = teacher.hash
    return Run(
      folder=self.session.workdir / 'runs' / arm / f'seed{seed}',
      epochs=epochs,
      recipe=recipe,
      test=setup.dataset.test,
      teacher_variables={} if teacher is None else teacher.variables,
      key=jax.random.key(seed),
      about=about,
      settings=config.settings,
      swept=swept,
      table=table,
    )

  @functools.cached_property
  def _student_start(self) -> dict[str, str]:
    """The same for all students: read and hashed once, not for each run."""
    return self.setup.initial_weights(self.setup.student)


def _check_arms(arms: Iterable[str]) -> None:
  """Checks the names of arms, which are those of folders.

  Raises:
    ValueError: If one is impossible or that of the teacher or the student.
  """
  for arm in arms:
    check_run_name('An arm', arm)
    if arm in ('teacher', 'student'):
      raise ValueError(f'No arm can be called {arm}: another run is.')
