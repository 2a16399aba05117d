"""Reads a study: its runs' configurations and lines, as they lie on disk.

A study may still be running, or may have been stopped at any moment, so what
is missing or torn is left out and said in the notes instead of raised.
"""

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any

from etils import epath

Line = Mapping[str, Any]

# The kinds of lines that something here reads. A plot of other lines adds its
# kind, so that the notes no longer call them unknown.
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
  """One network trained once: the folder `runs/<arm>/seed<k>`."""

  folder: epath.Path
  arm: str  # 'teacher', 'student' (trained alone), or the method's name
  seed: int
  config: Mapping[str, Any]
  lines: tuple[Line, ...]  # in the order written, each measurement once
  notes: tuple[str, ...]  # what was missing or unreadable

  @property
  def role(self) -> str:
    """'teacher', 'student' (trained alone) or 'distilled'."""
    if 'role' in self.config:
      return str(self.config['role'])
    return self.arm if self.arm in ('teacher', 'student') else 'distilled'

  @property
  def end(self) -> Line | None:
    """The line that a finished run closes with."""
    return next(iter(self.of_kind('end')), None)

  @property
  def score(self) -> str:
    """By what it is judged: accuracy, or what its configuration says."""
    return _score(self.config)

  @property
  def accuracy(self) -> float | None:
    """Its score after the last epoch, from 0 to 1; None if unfinished."""
    value = (self.end or {}).get(self.score)
    return None if value is None else float(value)

  def of_kind(self, kind: str) -> tuple[Line, ...]:
    """The lines of one kind, in order."""
    return tuple(line for line in self.lines if line.get('kind') == kind)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
  """The runs of one command, and its configuration."""

  folder: epath.Path
  config: Mapping[str, Any]  # the whole of config.json
  runs: tuple[Run, ...]  # by arm, then seed
  notes: tuple[str, ...]  # of the study and of all its runs

  @property
  def arms(self) -> dict[str, tuple[Run, ...]]:
    """Runs by arm: the teachers, the student alone, then methods by name."""
    arms = {}
    for run in self.runs:
      arms[run.arm] = (*arms.get(run.arm, ()), run)
    return arms

  @property
  def score(self) -> str:
    """By what its networks are judged: the share of right answers, or mAP."""
    return self.runs[0].score

  def arm_of_role(self, role: str) -> str | None:
    """The first arm that plays a role: 'teacher' or 'student'."""
    return next((run.arm for run in self.runs if run.role == role), None)


def read_study(workdir: epath.PathLike) -> Study:
  """Reads every run below `workdir/runs`.

  Raises:
    ValueError: If there is no run; it names the folder and what was expected.
  """
  folder = epath.Path(workdir)
  runs = [
    _read_run(path, seed)
    for path in folder.glob('runs/*/seed*')
    if (seed := _seed(path)) is not None and path.is_dir()
  ]
  if not runs:
    raise ValueError(
      f'{folder} has no runs: expected a work folder with '
      'runs/<arm>/seed<k>/metrics.jsonl, as the commands of experiments write.'
    )
  runs.sort(key=lambda run: (_rank(run.role), run.arm, run.seed))
  config, notes = _read_config(folder / 'config.json', folder)
  notes += [note for run in runs for note in run.notes]
  notes += _unknown_kinds(runs)
  return Study(
    folder=folder, config=config, runs=tuple(runs), notes=tuple(notes)
  )


def _read_run(folder: epath.Path, seed: int) -> Run:
  study = folder.parents[2]
  config, notes = _read_config(folder / 'config.json', study)
  lines, torn = _read_lines(folder / 'metrics.jsonl')
  name = folder.relative_to(study).as_posix()
  if torn:
    numbers = ', '.join(map(str, torn))
    notes.append(f'{name}/metrics.jsonl: unreadable line {numbers}, left out.')
  if not any(_score(config) in x for x in lines if x.get('kind') == 'end'):
    notes.append(f'{name}: {_state(lines)}, not counted in the table.')
  return Run(
    folder=folder,
    arm=folder.parent.name,
    seed=seed,
    config=config,
    lines=_latest(lines),
    notes=tuple(notes),
  )


def _score(config):
  return str(config.get('score', 'accuracy'))


def _read_config(path, study):
  """A JSON object, or an empty one and the note that says why."""
  try:
    config = json.loads(path.read_text('utf-8'))
    if isinstance(config, dict):
      return config, []
    reason = 'is not a JSON object'
  except FileNotFoundError:
    reason = 'is missing'
  except ValueError:
    reason = 'cannot be read as JSON'
  return {}, [f'{path.relative_to(study).as_posix()} {reason}.']


def _read_lines(path):
  """The JSON objects of a file, and the numbers of the lines that are none."""
  if not path.is_file():
    return [], []
  lines, torn = [], []
  texts = path.read_bytes().decode('utf-8', errors='replace').splitlines()
  for number, text in enumerate(texts, start=1):
    try:
      line = json.loads(text) if text.strip() else None
    except ValueError:
      line = text
    if isinstance(line, dict):
      lines.append(line)
    elif line is not None:
      torn.append(number)
  return lines, torn


def _latest(lines):
  """Each measurement once.

  A run that was stopped and went on writes some epochs twice. Two lines that
  agree in epoch, step and every text (kind, split, layer, …) measure the same
  thing, and the later one counts.
  """
  measurements = {}
  for index, line in enumerate(lines):
    where = (line.get('epoch'), line.get('step'))
    if line.get('kind') == 'end':
      where = ()
    elif where == (None, None):
      where = (index,)
    texts = sorted((k, v) for k, v in line.items() if isinstance(v, str))
    measurements[json.dumps([where, texts])] = line
  return tuple(measurements.values())


def _state(lines):
  """How far a run that has no accuracy at its end has come."""
  stopped = [line for line in lines if line.get('kind') == 'diverged']
  if stopped:
    return f'diverged at step {stopped[-1].get("step")}'
  epochs = [line['epoch'] for line in lines if _is_number(line.get('epoch'))]
  where = f'its last line is of epoch {max(epochs)}' if epochs else 'no lines'
  return f'unfinished ({where})'


def _unknown_kinds(runs):
  counts = {}
  for run in runs:
    for line in run.lines:
      kind = str(line.get('kind'))
      counts[kind] = counts.get(kind, 0) + 1
  return [
    f'{count} lines of kind {kind!r}, which no plot here reads.'
    for kind, count in sorted(counts.items())
    if kind not in KINDS
  ]


def _rank(role):
  order = ('teacher', 'student')
  return order.index(role) if role in order else len(order)


def _seed(path):
  match = re.fullmatch(r'seed(\d+)', path.name)
  return int(match[1]) if match else None


def _is_number(value):
  return isinstance(value, int | float) and not isinstance(value, bool)
