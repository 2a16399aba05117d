"""Sources of a teacher: a checkpoint, an earlier command, or training."""

import dataclasses
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from kdjax import convert, methods
from kdjax.runtime import files, run_folder
from kdjax.runtime.checkpoints import load_variables
from kdjax.studies.setup import Setup, identity
from kdjax.studies.teacher_cache import CachedTeacher
from kdjax.train.epochs import Epochs
from kdjax.train.evaluate import SAMPLES
from kdjax.train.loop import train
from kdjax.train.run import Run, count_parameters
from kdjax.train.state import Frozen, TrainState
from kdjax.typing import PyTree

_SEED = 0
_KEY_FOLD = 7  # keeps the teacher's key apart from the students'


@dataclasses.dataclass(frozen=True)
class Teacher:
  """A frozen teacher.

  Attributes:
    variables: Its parameters and running statistics.
    hash: Hash of the configuration it was trained by or, for a checkpoint from
      elsewhere, of its weights.
  """

  variables: PyTree
  hash: str


def obtain(setup: Setup) -> Teacher:
  """Returns the teacher of a comparison and writes its run folder.

  Args:
    setup: Dataset and networks of the comparison.

  Raises:
    ValueError: If the checkpoint cannot be read or is of another network.
  """
  session = setup.session
  if setup.config.teacher_checkpoint is not None:
    return _from_checkpoint(setup, setup.config.teacher_checkpoint)
  run = _training_run(setup)
  cached = CachedTeacher('teachers', run.about, session.progress.say)
  like = _shapes(setup)
  own = run.folder / 'student'
  variables = session.devices.read(
    lambda: _load_trained(setup, run, cached, like), like
  )
  if variables is None:
    train(run, session.request, session.progress)
    variables = session.devices.read(lambda: load_variables(own, like), like)
  if session.devices.is_main and own.is_dir():
    cached.publish(epath.Path(run.folder))
  return Teacher(variables, cached.name)


def _load_trained(
  setup: Setup, run: Run, cached: CachedTeacher, like: PyTree
) -> PyTree | None:
  """Returns a trained teacher of this work folder or of the cache, if any."""
  own, say = epath.Path(run.folder) / 'student', setup.session.progress.say
  if run_folder.has_ended(run.folder, run.about) and own.is_dir():
    try:
      return load_variables(own, like)
    except ValueError as error:
      say(f'The weights of the teacher are not used: {error}')
      own.rmtree()
  if not cached.is_complete():
    return None
  try:
    variables = load_variables(cached.weights, like)
  except ValueError as error:
    cached.discard(str(error))
    return None
  say(f'The teacher is taken from {cached.folder}')
  cached.copy_logs(epath.Path(run.folder), run.about)
  return variables


def _from_checkpoint(setup: Setup, path: pathlib.Path) -> Teacher:
  config, like, session = setup.config, _shapes(setup), setup.session

  def read() -> PyTree:
    start = like
    if config.allow_partial:
      start = setup.teacher.initialize(
        jax.random.key(_SEED), setup.dataset.image_shape
      )
    return convert.load(
      path,
      start,
      network=config.teacher,
      prefix=config.prefix,
      allow_partial=config.allow_partial,
      say=session.progress.say,
    )

  variables = jax.tree.map(np.asarray, session.devices.read(read, like))
  name = identity(variables)
  epochs = setup.epochs(
    setup.teacher, None, methods.Supervised(), config.teacher_recipe
  )
  _evaluate_once(setup, _run(setup, epochs, {'checkpoint': name}), variables)
  return Teacher(variables, name)


def _evaluate_once(setup: Setup, run: Run, variables: PyTree) -> None:
  """Evaluates a given teacher, unless this or an earlier command has.

  On a CPU that takes longer than everything else before the first step.
  """
  if run.finished():
    return
  session = setup.session
  about = {**run.about, 'data': setup.dataset.fingerprint}
  del about['settings']
  say, main = session.progress.say, session.devices.is_main
  cached, folder = CachedTeacher('scores', about, say), epath.Path(run.folder)
  if not session.devices.any(main and cached.is_complete()):
    _evaluate(run, variables)
    if main:
      cached.publish(folder)
  elif main:
    say(f"The teacher's scores are taken from {cached.folder}")
    cached.copy_logs(folder, run.about)


def _evaluate(run: Run, variables: PyTree) -> None:
  """Evaluates given weights and logs them as a finished run."""
  program = run.epochs.program
  # A teacher that is not trained needs memory for its weights only.
  placed = program.devices.shard(variables)
  state = TrainState(
    step=jnp.zeros((), jnp.int32),
    params={'student': placed['params'], 'method': {}},
    batch_stats=placed['batch_stats'],
    teacher_stats={},
    method_state={},
    opt_state={},
    key=run.key,
  )
  evaluation = run.epochs.evaluator.evaluate(
    state, Frozen(teacher={}), run.epochs.place(run.test)
  )
  if not program.devices.is_main:
    return
  files.write_json(run.folder / 'config.json', run.about)
  writer = files.MetricsWriter(run.folder / 'metrics.jsonl', -1)
  scores = program.parts.task.summarize(evaluation.outputs)
  start = {'epoch': 0, 'step': 0}
  writer.write(kind='eval', **start, split='test', **scores)
  samples = {n: rows[:SAMPLES] for n, rows in evaluation.samples.items()}
  files.write_arrays(run.folder / 'features.npz', samples)
  writer.write(
    kind='end',
    **start,
    **scores,
    parameters=count_parameters(variables['params']),
    forward_flops=program.forward_flops(state),
  )


def _training_run(setup: Setup) -> Run:
  """Returns the run that trains the teacher, on its own share of the data."""
  config, recipe = setup.config, setup.config.teacher_recipe
  limit, dataset = config.limit, setup.dataset
  if config.teacher_limit not in (None, limit):
    limit, dataset = config.teacher_limit, setup.load(config.teacher_limit)
  epochs = setup.epochs(
    setup.teacher, None, methods.Supervised(), recipe, dataset.train
  )
  return _run(
    setup,
    epochs,
    {
      'recipe': {
        name: value
        for name, value in files.to_json(recipe).items()
        if not name.startswith('average_')  # a teacher's weights are its last
      },
      'limit': limit,
      'data': dataset.fingerprint,
      **setup.initial_weights(setup.teacher),
    },
  )


def _run(setup: Setup, epochs: Epochs, source: dict[str, Any]) -> Run:
  """Returns the run that trains the teacher, or that describes a given one."""
  config = setup.config
  return Run(
    folder=setup.session.workdir / 'runs' / 'teacher' / f'seed{_SEED}',
    epochs=epochs,
    recipe=config.teacher_recipe,
    test=setup.dataset.test,
    teacher_variables={},
    # Different from the keys of students: arrays of equal shape would otherwise
    # have equal initial weights, and that student would start near its teacher.
    key=jax.random.fold_in(jax.random.key(_SEED), _KEY_FOLD),
    about={
      **setup.about('teacher', 'teacher', setup.teacher, _SEED),
      **source,
    },
    settings=config.settings,
  )


def _shapes(setup: Setup) -> PyTree:
  # Of the batch size of which methods describe it, which is remembered.
  shape, size = setup.dataset.image_shape, setup.config.recipe.batch_size
  return setup.teacher.describe(shape, size).variables
