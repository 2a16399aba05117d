"""Sources of a teacher: a checkpoint, an earlier command, or training."""

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from kdjax import convert, methods
from kdjax.runtime import files, run_folder
from kdjax.runtime.cache import cache_folder
from kdjax.runtime.checkpoints import load_variables
from kdjax.studies.setup import Setup, identity, short_hash
from kdjax.train.epochs import Epochs
from kdjax.train.evaluate import SAMPLES
from kdjax.train.loop import train
from kdjax.train.run import Run, count_parameters
from kdjax.train.state import Frozen, TrainState
from kdjax.typing import PyTree

_SEED = 0
_KEY_FOLD = 7  # keeps the teacher's key apart from the students'
_LOGS = ('metrics.jsonl', 'features.npz')


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
  """Returns the teacher of a comparison and leaves a run folder about it.

  Args:
    setup: Dataset and networks of the comparison.

  Raises:
    ValueError: If the checkpoint cannot be read or is of another network.
  """
  session = setup.session
  if setup.config.teacher_checkpoint is not None:
    return _from_checkpoint(setup, setup.config.teacher_checkpoint)
  run = _training_run(setup)
  name = short_hash(json.dumps(run.about, sort_keys=True).encode())
  cached = cache_folder() / 'teachers' / name
  like = _shapes(setup)
  own = run.folder / 'student'
  variables = session.devices.read(
    lambda: _load_trained(setup, run, cached, like), like
  )
  if variables is None:
    train(run, session.request, session.progress)
    variables = session.devices.read(lambda: load_variables(own, like), like)
  if session.devices.is_main and own.is_dir():
    _publish(setup, run.folder, cached)
  return Teacher(variables, name)


def _load_trained(
  setup: Setup, run: Run, cached: pathlib.Path, like: PyTree
) -> PyTree | None:
  """Returns a trained teacher of this work folder or of the cache, if any."""
  own = run.folder / 'student'
  if run_folder.has_ended(run.folder, run.about) and own.is_dir():
    folder = own
  elif (cached / 'student').is_dir():
    folder = cached / 'student'
  else:
    return None
  try:
    variables = load_variables(folder, like)
  except ValueError as error:
    setup.session.progress.say(f'The teacher is trained again: {error}')
    broken = folder.parent if folder is not own else own
    with contextlib.suppress(OSError):  # a cache may be read-only
      epath.Path(broken).rmtree()
    return None
  if folder is not own:
    setup.session.progress.say(f'The teacher is taken from {cached}')
    _copy_logs(run, cached)
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
  name = short_hash(json.dumps(about, sort_keys=True).encode())
  cached = cache_folder() / 'judged' / name
  main = session.devices.is_main
  if not session.devices.any(main and cached.is_dir()):
    _evaluate(run, variables)
    if main:
      _publish(setup, run.folder, cached)
  elif main:
    session.progress.say(f"The teacher's scores are taken from {cached}")
    _copy_logs(run, cached)


def _evaluate(run: Run, variables: PyTree) -> None:
  """Evaluates given weights and logs them as a run at its end."""
  program = run.epochs.program
  # What is not trained needs no more memory than its weights.
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
    # Not a student's key: where shapes agree they would start from the same
    # weights, and the student of that seed near its teacher.
    key=jax.random.fold_in(jax.random.key(_SEED), _KEY_FOLD),
    about={
      **setup.about('teacher', 'teacher', setup.teacher, _SEED),
      **source,
    },
    settings=config.settings,
  )


def _shapes(setup: Setup) -> PyTree:
  return setup.teacher.describe(setup.dataset.image_shape).variables


def _copy_logs(run: Run, cached: pathlib.Path) -> None:
  """Copies a cached teacher's logs, not its weights, into the work folder."""
  epath.Path(run.folder).mkdir(parents=True, exist_ok=True)
  for name in _LOGS:
    epath.Path(cached / name).copy(run.folder / name, overwrite=True)
  files.write_json(run.folder / 'config.json', run.about)


def _publish(setup: Setup, folder: epath.Path, cached: pathlib.Path) -> None:
  """Puts a teacher's folder into the cache, whole or not at all."""
  parts = [folder / name for name in ('student', 'config.json', *_LOGS)]
  parts = [part for part in parts if part.exists()]  # weights, if trained here
  if _contains(cached, parts):
    return
  temporary = cached.with_name(f'{cached.name}.{os.getpid()}.tmp')
  try:
    temporary.mkdir(parents=True)
    for part in parts:
      _copy(part, epath.Path(temporary / part.name))
    temporary.replace(cached)
  except OSError as error:
    shutil.rmtree(temporary, ignore_errors=True)
    if not _contains(cached, parts):  # or another command was faster
      setup.session.progress.say(
        f'The teacher cannot be kept for later commands in {cached}: {error}'
      )


def _contains(cached: pathlib.Path, parts: list[epath.Path]) -> bool:
  return all((cached / part.name).exists() for part in parts)


def _copy(path: epath.Path, target: epath.Path) -> None:
  """Copies a file or a folder with its content."""
  if not path.is_dir():
    path.copy(target)
    return
  target.mkdir(parents=True)
  for inner in path.iterdir():
    _copy(inner, target / inner.name)
