"""Reader of a study: the configurations and log lines of its runs.

A study may still be running or may have been interrupted at any time, so
missing or unreadable parts are skipped and listed in the notes instead of
raising an error.
"""

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from kdjax.report import log_checks
from kdjax.runtime.files import read_json, read_lines

Line = Mapping[str, Any]

# The kinds of lines that this package reads. A plot of other lines adds its
# kind here, so that the notes do not report them as unknown.
KINDS = frozenset(
  {
    'train',
    'eval',
    'bound',
    'anisotropy',
    'function_gap',
    'speed',
    'end',
    'diverged',
  }
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
  """One network trained once: the folder `runs/<arm>/seed<k>`.

  Attributes:
    folder: The run's folder.
    arm: 'teacher', 'student' (trained alone), or the method's name.
    seed: The seed.
    config: Content of the run's `config.json`; empty if missing.
    lines: Log lines in the order written, each measurement once.
    notes: Missing or unreadable parts.
  """

  folder: epath.Path
  arm: str
  seed: int
  config: Mapping[str, Any]
  lines: tuple[Line, ...]
  notes: tuple[str, ...]

  @property
  def role(self) -> str:
    """Role of the arm: 'teacher', 'student' (trained alone), 'distilled'."""
    if 'role' in self.config:
      return str(self.config['role'])
    return self.arm if self.arm in ('teacher', 'student') else 'distilled'

  @property
  def end(self) -> Line | None:
    """Final line of a finished run; None if unfinished."""
    return next(iter(self.of_kind('end')), None)

  @property
  def score(self) -> str:
    """Name of the score: `accuracy` unless the configuration says otherwise."""
    return _score_name(self.config)

  @property
  def accuracy(self) -> float | None:
    """Score after the last epoch, in [0, 1]; None if unfinished."""
    value = (self.end or {}).get(self.score)
    return None if value is None else float(value)

  def of_kind(self, kind: str) -> tuple[Line, ...]:
    """Returns the lines of one kind, in order."""
    return tuple(line for line in self.lines if line.get('kind') == kind)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
  """The runs of one command and its configuration.

  Attributes:
    folder: The work folder.
    config: Content of the work folder's `config.json`; empty if missing.
    runs: All runs, ordered by arm and seed.
    notes: Missing or unreadable parts of the study and of its runs.
  """

  folder: epath.Path
  config: Mapping[str, Any]
  runs: tuple[Run, ...]
  notes: tuple[str, ...]

  @property
  def arms(self) -> dict[str, tuple[Run, ...]]:
    """Runs by arm: teachers, the student alone, then methods by name."""
    arms = {}
    for run in self.runs:
      arms[run.arm] = (*arms.get(run.arm, ()), run)
    return arms

  @property
  def score(self) -> str:
    """Name of the score by which networks are compared: accuracy or mAP."""
    return self.runs[0].score

  def arm_of_role(self, role: str) -> str | None:
    """Returns the first arm of a role, 'teacher' or 'student', or None."""
    return next((run.arm for run in self.runs if run.role == role), None)


def read_study(workdir: epath.PathLike) -> Study:
  """Reads every run below `workdir/runs`.

  Args:
    workdir: The work folder of a command.

  Returns:
    The study; missing or unreadable parts are named in its notes.

  Raises:
    ValueError: If there is no run.
  """
  folder = epath.Path(workdir)
  runs = [
    _read_run(path, seed)
    for path in folder.glob('runs/*/seed*')
    if (seed := _parse_seed(path)) is not None and path.is_dir()
  ]
  if not runs:
    raise ValueError(
      f'{folder} has no runs: expected a work folder with '
      'runs/<arm>/seed<k>/metrics.jsonl, as the commands of experiments write.'
    )
  runs.sort(key=lambda run: (_role_order(run.role), run.arm, run.seed))
  config, notes = _read_config(folder / 'config.json', folder)
  notes += [note for run in runs for note in run.notes]
  notes += _unknown_kinds(runs)
  return Study(
    folder=folder, config=config, runs=tuple(runs), notes=tuple(notes)
  )


def _read_run(folder: epath.Path, seed: int) -> Run:
  study = folder.parents[2]
  config, notes = _read_config(folder / 'config.json', study)
  unreadable: list[int] = []
  lines = read_lines(folder / 'metrics.jsonl', unreadable.append)
  name = folder.relative_to(study).as_posix()
  if unreadable:
    numbers = ', '.join(map(str, unreadable))
    notes.append(f'{name}/metrics.jsonl: skipped unreadable lines {numbers}.')
  score = _score_name(config)
  lines, wrong = log_checks.without_wrong_numbers(lines, score)
  wrong += log_checks.missing_lines(lines, config)
  notes += [f'{name}/metrics.jsonl: {what}.' for what in wrong]
  if not any(score in line for line in lines if line.get('kind') == 'end'):
    notes.append(f'{name}: {_describe_end(lines)}; not counted in the table.')
  return Run(
    folder=folder,
    arm=folder.parent.name,
    seed=seed,
    config=config,
    lines=_last_of_each_measurement(lines),
    notes=tuple(notes),
  )


def _score_name(config: Mapping[str, Any]) -> str:
  return str(config.get('score', 'accuracy'))


def _read_config(
  path: epath.Path, study: epath.Path
) -> tuple[dict[str, Any], list[str]]:
  """Returns a file's JSON object and no note, or an empty one and a note."""
  try:
    return read_json(path), []
  except ValueError as error:
    reason = 'cannot be read as JSON' if path.exists() else 'is missing'
    if 'no JSON object' in str(error):
      reason = 'is not a JSON object'
  return {}, [f'{path.relative_to(study).as_posix()} {reason}.']


def _last_of_each_measurement(lines: Sequence[Line]) -> tuple[Line, ...]:
  """Returns each measurement once.

  A resumed run may log some epochs twice. Two lines with the same epoch, step
  and strings (kind, split, layer, …) are the same measurement, of which the
  later line is kept.
  """
  measurements = {}
  for index, line in enumerate(lines):
    position = (line.get('epoch'), line.get('step'))
    if line.get('kind') == 'end':
      position = ()
    elif position == (None, None):
      position = (index,)
    strings = sorted((k, v) for k, v in line.items() if isinstance(v, str))
    measurements[json.dumps([position, strings])] = line
  return tuple(measurements.values())


def _describe_end(lines: Sequence[Line]) -> str:
  """Describes where a run without a final score ended."""
  diverged = [line for line in lines if line.get('kind') == 'diverged']
  if diverged:
    return f'diverged at step {diverged[-1].get("step")}'
  epochs = [line['epoch'] for line in lines if 'epoch' in line]
  return f'unfinished ({f"epoch {max(epochs)}" if epochs else "no lines"})'


def _unknown_kinds(runs: Sequence[Run]) -> list[str]:
  """Returns a note for each kind of line that this package does not read."""
  counts = {}
  for run in runs:
    for line in run.lines:
      kind = str(line.get('kind'))
      counts[kind] = counts.get(kind, 0) + 1
  return [
    f'{count} lines of kind {kind!r}, which no plot reads.'
    for kind, count in sorted(counts.items())
    if kind not in KINDS
  ]


def _role_order(role: str) -> int:
  order = ('teacher', 'student')
  return order.index(role) if role in order else len(order)


def _parse_seed(path: epath.Path) -> int | None:
  match = re.fullmatch(r'seed(\d+)', path.name)
  return int(match[1]) if match else None
