"""A comparison over seeds: teacher, student alone, distilled student."""

import dataclasses
import functools
import itertools
import pathlib
from collections.abc import Callable, Hashable

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from kdjax import convert, data, methods, models
from kdjax.methods import Method
from kdjax.network import Network
from kdjax.runtime import files, mesh
from kdjax.runtime.progress import Progress
from kdjax.runtime.signals import StopRequest
from kdjax.studies import schedule
from kdjax.studies import teacher as teacher_lib
from kdjax.studies.config import StudyConfig
from kdjax.studies.teacher import Teacher
from kdjax.tasks import SingleLabel, Task
from kdjax.train.frozen import inference_variables, table_maker
from kdjax.train.host_table import HostTable
from kdjax.train.numbers import LEARNING_RATE, as_state, skeleton
from kdjax.train.parts import Parts
from kdjax.train.recipe import Recipe
from kdjax.train.resident import Program, check_batch_size
from kdjax.train.run import Run
from kdjax.train.stages import slower_body
from kdjax.train.streamed import StreamedProgram
from kdjax.train.teacher_table import Table
from kdjax.typing import PyTree

_DTYPES = {'float32': jnp.float32, 'bfloat16': jnp.bfloat16}


@dataclasses.dataclass(frozen=True)
class Study:
  """What a comparison left behind.

  Attributes:
    workdir: Its folder; `report/report.html` is the page.
    has_runs: Whether anything was trained, so that there is a page.
  """

  workdir: epath.Path
  has_runs: bool = True


class Comparison:
  """The runs of one comparison, in one work folder."""

  def __init__(
    self,
    config: StudyConfig,
    workdir: epath.PathLike,
    *,
    request: StopRequest,
    progress: Progress,
    devices: mesh.Devices | None = None,
  ):
    self.config = config
    self.workdir = epath.Path(workdir)
    self.request = request
    self.progress = progress
    self.devices = devices or mesh.all_devices()
    for network in (config.student, config.teacher):
      models.check_name(network)  # before a set is downloaded
    progress.say(config.loading)
    self.dataset = self.load(config.limit)
    # The students' too, before their teacher has cost an hour.
    check_batch_size(config.recipe.batch_size, self.dataset.train)
    own = convert.Normalization(self.dataset.mean, self.dataset.std)
    self.student = self._network(config.student, own, config.student_init)
    self.teacher = self._network(
      config.teacher, self._teacher_constants(own), config.teacher_init
    )
    self.arms = {
      arm: method
      for arm, method in config.arms.items()
      if method.needs_teacher  # the others are the student alone
    }
    for method in self.arms.values():
      self._check_pair(method)

  def run(self) -> Study:
    """All runs, those that are finished already left as they are.

    Raises:
      ValueError: If something of the configuration cannot be.
      DivergedError: If a run's loss stops being finite.
      Interrupted: If a signal asked for it.
    """
    teacher = teacher_lib.obtain(self) if self.arms else None
    self._students({'student': methods.Supervised()}, None)
    for _, arms in itertools.groupby(self.arms, self._program_of):
      self._students({arm: self.arms[arm] for arm in arms}, teacher)
    return Study(self.workdir)

  def _program_of(self, arm: str) -> Hashable:
    """What the program of an arm depends on, numbers aside."""
    names = tuple(self.config.numbers(arm))
    return (names, skeleton(self.arms[arm], names)) if names else arm

  def load(self, limit: int | None) -> data.Dataset | data.StreamedDataset:
    """The set, with at most `limit` training images per class."""
    return self.devices.in_turn(lambda: self.config.load(limit))

  def program(
    self,
    student: Network,
    teacher: Network | None,
    method: Method,
    recipe: Recipe,
    train: data.Split | data.StreamedSplit | None = None,
  ) -> Program:
    """The compiled functions that train a network, on `train` if given."""
    train = train or self.dataset.train
    streamed = isinstance(train, data.StreamedSplit)
    make = StreamedProgram if streamed else Program
    steps_per_epoch = make.count_steps(train, recipe.batch_size)
    parts = Parts(
      student=student,
      teacher=teacher,
      method=method,
      task=self.config.task,
      augment=self.dataset.augment,
      optimizer=slower_body(
        recipe.optimizer(steps_per_epoch), student, recipe.body_factor
      ),
      steps_per_epoch=steps_per_epoch,
      ema_decay=recipe.ema_decay,
      snapshots=recipe.average_last is not None,
      align_steps=recipe.align_epochs * steps_per_epoch,
      align_factor=recipe.align_factor,
    )
    return make(parts, self.devices, train, recipe.batch_size)

  def frozen(self, teacher_variables: PyTree, method: Method) -> PyTree:
    """The teacher's variables as the steps of a method take them."""
    return inference_variables(
      self.teacher,
      teacher_variables,
      self.dataset.image_shape,
      use=self.config.fold_teacher,
      method=method,
    )

  def about(self, arm: str, role: str, network: Network, seed: int) -> dict:
    """What every run's `config.json` says."""
    return {
      'arm': arm,
      'role': role,
      'seed': seed,
      'network': network.name,
      'num_classes': self.dataset.num_classes,
      'image_shape': self.dataset.image_shape,
      'mean': network.mean,
      'std': network.std,
      'dataset': self.config.dataset,
      'precision': self.config.precision,
      **self.config.network_options,
      **_score(self.config.task),
      'settings': files.to_json(self.config.settings),
    }

  def start_of(self, network: Network) -> dict[str, str]:
    """By which weights a network begins, if not by chance alone."""
    if network.pretrained is None:
      return {}
    start = network.initialize(jax.random.key(0), self.dataset.image_shape)
    return {'init': teacher_lib.identity(start)}

  @functools.cached_property
  def _student_start(self) -> dict[str, str]:
    """The same for all students: read and hashed once, not for each run."""
    return self.start_of(self.student)

  def _students(self, arms: dict[str, Method], teacher: Teacher | None):
    """Trains the students of arms that differ in numbers alone."""
    method = next(iter(arms.values()))
    network = None if teacher is None else self.teacher
    recipe = self._recipe(method)
    program = self.program(self.student, network, method, recipe)
    table = None
    if teacher is not None:
      frozen = self.frozen(teacher.variables, method)
      teacher = dataclasses.replace(teacher, variables=frozen)
      table = table_maker(
        program,
        self.config.teacher_table,
        epochs=recipe.all_epochs,
        runs=len(arms) * len(self.config.seeds),
        say=self.progress.say,
        ask=self._ask,
      )
    runs = [
      self._run(program, arm, method, seed, teacher, table)
      for arm, method in arms.items()
      for seed in self.config.seeds
    ]
    schedule.train(runs, self.request, self.progress, self.config.together)

  def _run(
    self,
    program: Program,
    arm: str,
    method: Method,
    seed: int,
    teacher: Teacher | None,
    table: Callable[[PyTree], Table | HostTable] | None,
  ) -> Run:
    config, recipe = self.config, self._recipe(method)
    numbers = config.numbers(arm)
    rate = numbers.get(LEARNING_RATE, recipe.learning_rate)
    about = {
      **self.about(
        arm, 'student' if teacher is None else 'distilled', self.student, seed
      ),
      'method': files.to_json(method),
      'recipe': files.to_json(dataclasses.replace(recipe, learning_rate=rate)),
      'limit': config.limit,
      'data': self.dataset.fingerprint,
      **self._student_start,
    }
    if teacher is not None:
      about['teacher'] = config.teacher
      about['teacher_hash'] = teacher.hash
    return Run(
      self.workdir / 'runs' / arm / f'seed{seed}',
      program,
      recipe=dataclasses.replace(recipe, learning_rate=rate),
      test=self.dataset.test,
      teacher_variables={} if teacher is None else teacher.variables,
      key=jax.random.key(seed),
      about=about,
      settings=config.settings,
      numbers=as_state(numbers, recipe.learning_rate),
      teacher_table=table,
    )

  def _ask(self) -> None:
    """Stops if a signal asked for it; there is nothing to save."""
    if self.devices.any(self.request.asked):
      self.request.stop()

  def _teacher_constants(self, own: convert.Normalization):
    config = self.config

    def read():
      found = convert.normalization(
        config.teacher_checkpoint,
        config.teacher,
        mean=config.teacher_mean,
        std=config.teacher_std,
        default=own,
      )
      # As integers, which the way to other processes does not round.
      return np.asarray(found, np.float64).view(np.uint32)

    like = np.asarray(own, np.float64).view(np.uint32)
    found = np.asarray(self.devices.read(read, like)).view(np.float64)
    return convert.Normalization(*map(tuple, found.tolist()))

  def _network(
    self,
    name: str,
    constants: convert.Normalization,
    init: pathlib.Path | None,
  ) -> Network:
    network = models.create(
      name,
      num_classes=self.dataset.num_classes,
      dtype=_DTYPES[self.config.precision],
      mean=constants.mean,
      std=constants.std,
      **self.config.network_options,
    )
    if init is None:
      return network

    def pretrained(fresh: PyTree) -> PyTree:
      return self.devices.read(
        lambda: convert.load(
          init, fresh, network=name, fresh_classifier=True, say=_unsaid
        ),
        fresh,
      )

    return dataclasses.replace(network, pretrained=pretrained)

  def _recipe(self, method: Method) -> Recipe:
    """The recipe; nothing comes first where a method has no part to train."""
    recipe = self.config.recipe
    if not recipe.align_epochs:
      return recipe
    if method.needs_teacher and self._check_pair(method)['params']:
      return recipe
    return recipe.without_stages()

  def _check_pair(self, method: Method) -> dict[str, PyTree]:
    """Refuses a pair before its teacher has cost an hour.

    Returns:
      The shapes of the method's variables.
    """
    shape = self.dataset.image_shape
    size = self.config.recipe.batch_size
    return jax.eval_shape(
      lambda key: method.init(
        key,
        self.student.describe(shape, size),
        self.teacher.describe(shape, size),
      ),
      jax.random.key(0),
    )


def _score(task: Task) -> dict[str, str]:
  """By what a report judges, where that is not the share of right answers."""
  return {} if task.score == SingleLabel.score else {'score': task.score}


def _unsaid(table: str) -> None:
  """That a classifier begins afresh is what was asked for."""
