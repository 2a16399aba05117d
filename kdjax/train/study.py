"""A comparison over seeds: teacher, student alone, distilled student."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from kdjax import convert, data, methods, models
from kdjax.methods import Method
from kdjax.models.network import Network
from kdjax.tasks import SingleLabel, Task
from kdjax.train import mesh, teachers, together, writers
from kdjax.train.interrupts import StopRequest
from kdjax.train.program import Program, check_batch_size
from kdjax.train.progress import Progress
from kdjax.train.recipe import Recipe
from kdjax.train.run import Run, RunSettings
from kdjax.train.staging import slower_body
from kdjax.train.step import Parts
from kdjax.train.streamed import StreamedProgram
from kdjax.train.teacher_table import (
  Table,
  TableUse,
  compute_table,
  reason_against,
  table_bytes,
)
from kdjax.train.teachers import Teacher
from kdjax.train.together import Together

PyTree = Any

_DTYPES = {'float32': jnp.float32, 'bfloat16': jnp.bfloat16}


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
    teacher_table: Whether the teacher's outputs on all views of all images are
      computed once and looked up: `auto` where that pays and fits, `always`
      where the method lets it be.
    together: Which seeds of a method train at once: `auto` puts each on a
      device of its own where more than half of the devices get one, `vmap` all
      of them as one batched computation; `never` trains one after the other,
      each on all devices.
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

  def load(self, limit: int | None) -> data.Dataset | data.StreamedDataset:
    """The set, with at most `limit` training images per class."""
    return data.load(self.dataset, data_dir=self.data_dir, limit=limit)

  @property
  def arms(self) -> dict[str, Method]:
    """The methods that are compared with the student alone, by name."""
    return {name_of(self.method): self.method}

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
    progress.say(f'Loading {config.dataset}')
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
    teacher = teachers.obtain(self) if self.arms else None
    self._students('student', methods.Supervised(), None)
    for arm, method in self.arms.items():
      self._students(arm, method, teacher)
    return Study(self.workdir)

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
      'settings': writers.to_json(self.config.settings),
    }

  def start_of(self, network: Network) -> dict[str, str]:
    """By which weights a network begins, if not by chance alone."""
    if network.pretrained is None:
      return {}
    start = network.initialize(jax.random.key(0), self.dataset.image_shape)
    return {'init': teachers.identity(start)}

  @functools.cached_property
  def _student_start(self) -> dict[str, str]:
    """The same for all students: read and hashed once, not for each run."""
    return self.start_of(self.student)

  def _students(self, arm: str, method: Method, teacher: Teacher | None):
    config = self.config
    network = None if teacher is None else self.teacher
    recipe = self._recipe(method)
    program = self.program(self.student, network, method, recipe)
    role = 'student' if teacher is None else 'distilled'
    table = None if teacher is None else self._table(program, recipe)
    runs = []
    for seed in config.seeds:
      about = {
        **self.about(arm, role, self.student, seed),
        'method': writers.to_json(method),
        'recipe': writers.to_json(recipe),
        'limit': config.limit,
        'data': self.dataset.fingerprint,
        **self._student_start,
      }
      if teacher is not None:
        about['teacher'] = config.teacher
        about['teacher_hash'] = teacher.hash
      runs.append(
        Run(
          self.workdir / 'runs' / arm / f'seed{seed}',
          program,
          recipe=recipe,
          test=self.dataset.test,
          teacher_variables={} if teacher is None else teacher.variables,
          key=jax.random.key(seed),
          about=about,
          settings=config.settings,
          teacher_table=table,
        )
      )
    together.train(runs, self.request, self.progress, self.config.together)

  def _table(
    self, program: Program, recipe: Recipe
  ) -> Callable[[PyTree], Table] | None:
    """What gives the table of the one teacher; `None` if it runs live."""
    against = reason_against(
      self.config.teacher_table,
      program,
      epochs=recipe.all_epochs,
      runs=len(self.config.seeds),
    )
    if against:
      if self.config.teacher_table == 'always':
        self.progress.say(f'The teacher runs in each step: {against}.')
      return None

    made: list[Table] = []  # by the first run that trains

    def table(variables: PyTree) -> Table:
      if not made:
        size = table_bytes(program) / 1e9
        self.progress.say(f"Computing the teacher's outputs, {size:.2g} GB")
        made.append(compute_table(program, variables, self._ask))
      return made[0]

    return table

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


def check_seeds(seeds: tuple[int, ...]) -> None:
  """Raises a `ValueError` unless seeds are different and make keys."""
  if len(set(seeds)) < len(seeds):
    raise ValueError(f'seeds must be different and at least one, got {seeds}.')
  # JAX takes 32 bits.
  if any(not 0 <= seed < 2**32 for seed in seeds):
    raise ValueError(
      f'seeds must be zero or more, and below 2**32, got {seeds}.'
    )


def _score(task: Task) -> dict[str, str]:
  """By what a report judges, where that is not the share of right answers."""
  return {} if task.score == SingleLabel.score else {'score': task.score}


def _unsaid(table: str) -> None:
  """That a classifier begins afresh is what was asked for."""


def name_of(method: Method) -> str:
  """The name by which a method is asked for."""
  for name, made in methods.METHODS.items():
    if type(method) is made:
      return name
  return type(method).__name__
