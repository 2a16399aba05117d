"""Damage of a run's log: numbers that are none, and lines that are missing."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Line = Mapping[str, Any]

_LARGEST = 2**63
_MOST_EPOCHS = 10**6

# Numbers that tables and plots read, besides the score.
_NUMBERS = (
  'loss',
  'seconds',
  'images_per_second',
  'parameters',
  'forward_flops',
)


def without_wrong_numbers(
  lines: Iterable[Line], score: str
) -> tuple[list[Line], list[str]]:
  """Returns lines without entries that should be numbers and are not.

  Args:
    lines: Lines of a log.
    score: Name of the score.

  Returns:
    The lines, and what was left out.
  """
  names = (score, f'best_{score}', *_NUMBERS)
  kept, left_out = [], []
  for line in lines:
    wrong = [n for n in names if n in line and not _is_number(line[n])]
    kept.append({k: value for k, value in line.items() if k not in wrong})
    at = f'of kind {line.get("kind")!r}, epoch {line.get("epoch")}'
    left_out += [
      f'left out {name} of a line {at}: {line[name]!r:.40} is no finite number'
      for name in wrong
    ]
  return kept, left_out


def missing_lines(
  lines: Sequence[Line], config: Mapping[str, Any]
) -> list[str]:
  """Returns what a log lacks before its last epoch.

  Args:
    lines: Lines of a log.
    config: Configuration of its run.
  """
  trained = _epochs(lines, 'train')
  last = max(_epochs(lines, 'end') | trained, default=0)
  if last > _MOST_EPOCHS:
    return [f'epoch {last} of a line cannot be right']
  settings = config.get('settings')
  every = settings.get('evaluate_every') if isinstance(settings, dict) else None
  notes = []
  if gaps := [e for e in range(1, last) if e not in trained]:
    notes.append(f'no line of training of {_describe(gaps)}')
  if type(every) is int and every > 0:
    evaluated = _epochs(lines, 'eval')
    due = range(every, last, every)
    if gaps := [epoch for epoch in due if epoch not in evaluated]:
      notes.append(f'no evaluation of {_describe(gaps)}')
  return notes


def _epochs(lines: Iterable[Line], kind: str) -> set[int]:
  return {line.get('epoch', 0) for line in lines if line.get('kind') == kind}


def _describe(epochs: Sequence[int]) -> str:
  """Returns epochs as text, such as `epochs 3, 7-9`."""
  texts = []
  for _, group in itertools.groupby(
    enumerate(epochs), lambda entry: entry[1] - entry[0]
  ):
    run = [epoch for _, epoch in group]
    texts.append(str(run[0]) if len(run) == 1 else f'{run[0]}-{run[-1]}')
  shown = ', '.join(texts[:10]) + ', …' * (len(texts) > 10)
  return f'epoch{"s" * (len(epochs) > 1)} {shown}'


def _is_number(value: Any) -> bool:
  if isinstance(value, int) and not isinstance(value, bool):
    return abs(value) < _LARGEST
  return value is None or (isinstance(value, float) and math.isfinite(value))
