"""Where a teacher comes from: a checkpoint, an earlier command, or training."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from etils import epath

from kdjax import convert, methods
from kdjax.runtime import files
from kdjax.runtime.checkpoints import load_variables
from kdjax.studies.schedule import train_one
from kdjax.train.resident import Program
from kdjax.train.run import Run
from kdjax.typing import PyTree

if TYPE_CHECKING:
  from kdjax.studies.comparison import Comparison


_SEED = 0
_OWN = 7  # fold of the teachers' keys
_LOGS = ('metrics.jsonl', 'features.npz')


@dataclasses.dataclass(frozen=True)
class Teacher:
  """A frozen teacher.

  Attributes:
    variables: Its parameters and running statistics.
    hash: Of the configuration it was trained by or, for a checkpoint from
      elsewhere, of its weights.
  """

  variables: PyTree
  hash: str


def cache_folder() -> pathlib.Path:
  """`$KDJAX_CACHE`, or `~/.cache/kdjax`."""
  return pathlib.Path(
    os.environ.get('KDJAX_CACHE', '~/.cache/kdjax')
  ).expanduser()


def obtain(study: Comparison) -> Teacher:
  """The teacher of a comparison; leaves a run folder that describes it.

  Raises:
    ValueError: If the checkpoint cannot be read or is of another network.
  """
  if study.config.teacher_checkpoint is not None:
    return _from_checkpoint(study, study.config.teacher_checkpoint)
  run = _trained(study)
  name = _hash(json.dumps(run.about, sort_keys=True).encode())
  cached = cache_folder() / 'teachers' / name
  like = _shapes(study)
  own = run.folder / 'student'
  variables = study.devices.read(lambda: _find(study, run, cached, like), like)
  if variables is None:
    train_one(run, study.request, study.progress)
    variables = study.devices.read(lambda: load_variables(own, like), like)
  if study.devices.is_main and own.is_dir():
    _publish(study, run.folder, cached)
  return Teacher(variables, name)


def identity(variables: PyTree) -> str:
  """A name of weights, by their numbers."""
  leaves = map(np.asarray, jax.tree.leaves(variables))
  return _hash(*(leaf.tobytes() for leaf in leaves))


def _find(
  study: Comparison, run: Run, cached: pathlib.Path, like: PyTree
) -> PyTree | None:
  """A trained teacher, of this work folder or of the cache, if there is one."""
  own = run.folder / 'student'
  if run.ended() and own.is_dir():
    place = own
  elif (cached / 'student').is_dir():
    place = cached / 'student'
  else:
    return None
  try:
    variables = load_variables(place, like)
  except ValueError as error:
    study.progress.say(f'The teacher is trained again: {error}')
    broken = place.parent if place is not own else own
    with contextlib.suppress(OSError):  # a cache may be read-only
      epath.Path(broken).rmtree()
    return None
  if place is not own:
    study.progress.say(f'The teacher is taken from {cached}')
    _describe(run, cached)
  return variables


def _from_checkpoint(study: Comparison, path: pathlib.Path) -> Teacher:
  config, like = study.config, _shapes(study)

  def read():
    start = like
    if config.allow_partial:
      start = study.teacher.initialize(
        jax.random.key(_SEED), study.dataset.image_shape
      )
    return convert.load(
      path,
      start,
      network=config.teacher,
      allow_partial=config.allow_partial,
      say=study.progress.say,
    )

  variables = jax.tree.map(np.asarray, study.devices.read(read, like))
  name = identity(variables)
  program = study.program(
    study.teacher, None, methods.Supervised(), study.config.teacher_recipe
  )
  _judge(study, _run(study, program, {'checkpoint': name}), variables)
  return Teacher(variables, name)


def _judge(study: Comparison, run: Run, variables: PyTree) -> None:
  """Evaluates a given teacher, unless this or an earlier command has.

  On a CPU that takes longer than everything else before the first step.
  """
  if run.finished:
    return
  judged = {**run.about, 'data': study.dataset.fingerprint}
  del judged['settings']
  name = _hash(json.dumps(judged, sort_keys=True).encode())
  cached = cache_folder() / 'judged' / name
  main = study.devices.is_main
  if not study.devices.any(main and cached.is_dir()):
    run.judge(variables)
    if main:
      _publish(study, run.folder, cached)
  elif main:
    study.progress.say(f"The teacher's scores are taken from {cached}")
    _describe(run, cached)


def _trained(study: Comparison) -> Run:
  """The run that trains the teacher, on its own share of the set."""
  config, recipe = study.config, study.config.teacher_recipe
  limit, dataset = config.limit, study.dataset
  if config.teacher_limit not in (None, limit):
    limit, dataset = config.teacher_limit, study.load(config.teacher_limit)
  program = study.program(
    study.teacher, None, methods.Supervised(), recipe, dataset.train
  )
  return _run(
    study,
    program,
    {
      'recipe': {
        name: value
        for name, value in files.to_json(recipe).items()
        if not name.startswith('average_')  # a teacher's weights are its last
      },
      'limit': limit,
      'data': dataset.fingerprint,
      **study.start_of(study.teacher),
    },
  )


def _run(study: Comparison, program: Program, source: dict[str, Any]) -> Run:
  """The run that trains the teacher, or that describes the one given."""
  config = study.config
  return Run(
    study.workdir / 'runs' / 'teacher' / f'seed{_SEED}',
    program,
    recipe=config.teacher_recipe,
    test=study.dataset.test,
    teacher_variables={},
    # Not a student's key: where shapes agree they would start from the same
    # weights, and the student of that seed near its teacher.
    key=jax.random.fold_in(jax.random.key(_SEED), _OWN),
    about={
      **study.about('teacher', 'teacher', study.teacher, _SEED),
      **source,
    },
    settings=config.settings,
  )


def _shapes(study: Comparison) -> PyTree:
  return study.teacher.describe(study.dataset.image_shape).variables


def _describe(run: Run, cached: pathlib.Path) -> None:
  """Copies a cached teacher's logs, not its weights, into the work folder."""
  epath.Path(run.folder).mkdir(parents=True, exist_ok=True)
  for name in _LOGS:
    epath.Path(cached / name).copy(run.folder / name, overwrite=True)
  files.write_json(run.folder / 'config.json', run.about)


def _publish(
  study: Comparison, folder: epath.Path, cached: pathlib.Path
) -> None:
  """Puts a teacher's folder into the cache, whole or not at all."""
  parts = [folder / name for name in ('student', 'config.json', *_LOGS)]
  parts = [part for part in parts if part.exists()]  # weights, if trained here
  if _holds(cached, parts):
    return
  temporary = cached.with_name(f'{cached.name}.{os.getpid()}.tmp')
  try:
    temporary.mkdir(parents=True)
    for part in parts:
      _copy(part, epath.Path(temporary / part.name))
    temporary.replace(cached)
  except OSError as error:
    shutil.rmtree(temporary, ignore_errors=True)
    if not _holds(cached, parts):  # or another command was faster
      study.progress.say(
        f'The teacher cannot be kept for later commands in {cached}: {error}'
      )


def _holds(cached: pathlib.Path, parts: list[epath.Path]) -> bool:
  return all((cached / part.name).exists() for part in parts)


def _copy(path: epath.Path, target: epath.Path) -> None:
  """Copies a file, or a folder with all that is in it, from wherever it is."""
  if not path.is_dir():
    path.copy(target)
    return
  target.mkdir(parents=True)
  for inner in path.iterdir():
    _copy(inner, target / inner.name)


def _hash(*parts: bytes) -> str:
  digest = hashlib.sha256()
  for part in parts:
    digest.update(part)
  return digest.hexdigest()[:16]
