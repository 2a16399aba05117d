"""One run: a network trained from its first step to its last, in one folder."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from etils import epath

from kdjax.data import Split, StreamedSplit
from kdjax.runtime import files
from kdjax.runtime.progress import Progress
from kdjax.runtime.run_folder import Record, check_config
from kdjax.runtime.signals import StopRequest
from kdjax.train.averaging import averaged
from kdjax.train.evaluate import Evaluation
from kdjax.train.host_table import HostTable
from kdjax.train.loop import FEATURE_IMAGES, Course, Loop
from kdjax.train.parts import init_state
from kdjax.train.recipe import Recipe
from kdjax.train.resident import Program
from kdjax.train.state import TrainState
from kdjax.train.teacher_table import Table
from kdjax.typing import PyTree


@tyro.conf.configure(tyro.conf.OmitArgPrefixes)  # as for `Recipe`
@dataclasses.dataclass(frozen=True, kw_only=True)
class RunSettings:
  """How often a run looks up from its work.

  Attributes:
    evaluate_every: Epochs between evaluations; the last one is always done.
    checkpoint_every: Epochs between checkpoints; the last one is always made.
  """

  evaluate_every: int = 1
  checkpoint_every: int = 1

  def __post_init__(self):
    """Checks what would otherwise fail after the first epoch."""
    for name in ('evaluate_every', 'checkpoint_every'):
      if getattr(self, name) < 1:
        raise ValueError(
          f'{name} must be at least 1, got {getattr(self, name)}.'
        )


class Run:
  """One network trained by one program from one key, and its folder.

  Args:
    folder: Where everything of the run is written.
    program: The compiled functions.
    recipe: How it is optimised.
    test: The set it is judged on.
    teacher_variables: The frozen teacher's; an empty tree without one.
    key: Of the weights, the order and the augmentation.
    about: What `config.json` says of the run; must not change on a resume.
    settings: How often it is evaluated and saved.
    start: Freshly drawn variables to those that its student starts from, where
      runs of one program start from different ones; the student's own way
      without.
    numbers: What `TrainState.numbers` is; empty without.
    teacher_table: The teacher's variables to the table of its outputs that the
      steps look up, on the devices or in the host's memory; called when it
      trains. Without, the teacher runs in each.
  """

  def __init__(
    self,
    folder: epath.PathLike,
    program: Program,
    *,
    recipe: Recipe,
    test: Split | StreamedSplit,
    teacher_variables: PyTree,
    key: jax.Array,
    about: dict[str, Any],
    settings: RunSettings,
    start: Callable[[PyTree], PyTree] | None = None,
    numbers: dict[str, jax.Array] | None = None,
    teacher_table: Callable[[PyTree], Table | HostTable] | None = None,
  ):
    self.folder = epath.Path(folder)
    self.program = program
    self.recipe = recipe
    self._teacher_on_host = teacher_variables
    self.about = about
    self.settings = settings
    self.start = start
    self.numbers = numbers or {}
    self.teacher_table = teacher_table
    self.host_table: HostTable | None = None  # once it trains
    self.test = test
    self.key = key

  @functools.cached_property
  def teacher_variables(self) -> PyTree:
    """The frozen teacher's, on the devices."""
    return self.program.devices.shard(self._teacher_on_host)

  @functools.cached_property
  def test_data(self) -> Any:
    """The set it is judged on, where the program wants it."""
    return self.program.place(self.test)

  @property
  def finished(self) -> bool:
    """Whether the run has been to its end before; all processes must ask.

    Raises:
      ValueError: If the folder holds a run of another configuration.
    """
    devices = self.program.devices
    return devices.any(devices.is_main and self.ended())

  def ended(self) -> bool:
    """`finished`, by the folder that this process sees."""
    check_config(self.folder, self.about)
    lines = files.read_lines(self.folder / 'metrics.jsonl')
    return any(line.get('kind') == 'end' for line in lines)

  def course(self, request: StopRequest, progress: Progress) -> Course[None]:
    """Trains from the last checkpoint, or from the start, to the end.

    Whoever goes through it does the dispatches: `kdjax.studies.schedule`.

    Raises:
      ValueError: If the folder holds a run of another configuration, or a
        checkpoint of another network.
      DivergedError: If the loss stops being finite.
      Interrupted: If a signal asked for it; the state is saved.
    """
    record = Record(self.folder, self.about, self.program.devices)
    try:
      state = self._init()
      self._take_table()
      before = self.program.passes.evaluate(
        state, self.teacher_variables, self.test_data, first=FEATURE_IMAGES
      )
      carry = self.program.first_carry(state, self.teacher_variables)
      score = self.program.parts.task.score
      step, carry = record.resume(carry, score, progress.say)
      loop = Loop(self, record, request, progress.say)
      with progress.run(self.about, loop.total, step) as show:
        state, found = yield from loop.go_on(carry, step, show)
      students = {'student': self.program.exported(state)}
      scores = {}
      if self.recipe.average_last is not None:
        state = averaged(state, self.recipe.average_last)
        students['student_average'] = self.program.exported(state)
        scores = self._scores(state)
      record.finish(
        students,
        features(found, embedding_before=before.embedding),
        **loop.end(state, step),
        **{f'average_{name}': value for name, value in scores.items()},
        **self._size(state),
      )
    finally:
      self.program.close()
      record.close()
      # Others may follow, and this one still be in a list.
      self.host_table = None
      for placed in ('teacher_variables', 'test_data'):
        self.__dict__.pop(placed, None)

  def judge(self, variables: PyTree) -> None:
    """Evaluates given weights and logs them as a run that is at its end."""
    if self.finished:
      return
    # What is not trained needs no more room than its weights.
    placed = self.program.devices.shard(variables)
    state = TrainState(
      step=jnp.zeros((), jnp.int32),
      params={'student': placed['params'], 'method': {}},
      batch_stats=placed['batch_stats'],
      teacher_stats={},
      method_state={},
      opt_state={},
      ema={},
      snapshots={},
      key=self.key,
    )
    found = self.program.passes.evaluate(state, {}, self.test_data)
    if not self.program.devices.is_main:
      return
    files.write_json(self.folder / 'config.json', self.about)
    writer = files.MetricsWriter(self.folder / 'metrics.jsonl', -1)
    scores = self.program.parts.task.summarize(found.outputs)
    place = {'epoch': 0, 'step': 0}
    writer.write(kind='eval', **place, split='test', **scores)
    path = self.folder / 'features.npz'
    files.write_arrays(path, features(found))
    writer.write(kind='end', **place, **scores, **self._size(state))

  def _init(self) -> TrainState:
    parts = self.program.parts
    if self.start is not None:
      student = dataclasses.replace(parts.student, pretrained=self.start)
      parts = dataclasses.replace(parts, student=student)
    state = init_state(
      parts,
      self.key,
      self.program.image_shape,
      self.program.batch_size,
      self._teacher_on_host,
    )
    if parts.teacher is not None:
      variables = parts.method.prepare(
        state.method_variables,
        lambda: self.program.passes.of_teacher(
          self.teacher_variables, self.program.train_data
        ),
        parts.teacher.classifier(self._teacher_on_host),
        jax.random.fold_in(self.key, 4),
      )
      state = dataclasses.replace(
        state,
        params={**state.params, 'method': variables['params']},
        method_state=variables['state'],
      )
    state = dataclasses.replace(state, numbers=self.numbers)
    return self.program.devices.replicate(state)

  def _take_table(self) -> None:
    """Puts the teacher's outputs where the steps look them up, if anywhere."""
    if self.teacher_table is None:
      return
    table = self.teacher_table(self.teacher_variables)
    if isinstance(table, HostTable):
      self.host_table = table
    else:
      self.teacher_variables = {**self.teacher_variables, 'table': table}

  def _scores(self, state: TrainState) -> dict[str, float]:
    found = self.program.passes.evaluate(
      state, self.teacher_variables, self.test_data
    )
    return self.program.parts.task.summarize(found.outputs)

  def _size(self, state) -> dict[str, Any]:
    return {
      'parameters': count_parameters(state.params['student']),
      'forward_flops': self.program.forward_flops(state),
    }


def features(found: Evaluation, **more: np.ndarray) -> dict[str, np.ndarray]:
  """What `features.npz` holds of an evaluation, and what is given besides."""
  return {
    'embedding': found.embedding[:FEATURE_IMAGES],
    'labels': found.labels[:FEATURE_IMAGES],
    **more,
  }


def count_parameters(params: PyTree) -> int:
  """How many numbers a tree of arrays holds."""
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
