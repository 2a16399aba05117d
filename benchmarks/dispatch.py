"""What a dispatch of the loop costs beside its steps.

  python -m benchmarks.dispatch

A dispatch of n steps takes a + n b seconds: a to start it and to hand the state
back, b for each step. The shortest of many dispatches of one step and of eight
give both, over 50,000 resident images. Commands give a dispatch as many steps
as take half a second at the least (`kdjax/train/loop.py`): of that a is the
share that is said. Writes `benchmarks/results/dispatch.json`.
"""

import functools
from typing import Any

from benchmarks import _record
from benchmarks._step import Jax
from kdjax.runtime.cpu_devices import share_cores

BATCH, IMAGES = 64, 50_000
FEW, MANY, REPEATS = 1, 8, 25
SHORTEST = 0.5  # seconds of a command's dispatch
# Teacher, student and method.
CASES = (
  ('resnet20', 'resnet8', 'kd'),
  (None, 'resnet8', 'none'),
)


def main() -> None:
  """Measures and writes."""
  share_cores(BATCH)
  print(_record.record('dispatch', [_row(*case) for case in CASES]))


def _row(teacher: str | None, student: str, method: str) -> dict[str, Any]:
  made = Jax(teacher, student, method, BATCH, steps_per_epoch=IMAGES // BATCH)
  seconds = _record.side_by_side(
    {
      'few': functools.partial(made.loop, FEW),
      'many': functools.partial(made.loop, MANY),
      'alone': functools.partial(made.alone, MANY),
    },
    repeats=REPEATS,
  )
  few, many, alone = (seconds[name]['min'] for name in seconds)
  step = (many - few) / (MANY - FEW)
  dispatch = few - FEW * step
  return {
    'teacher': teacher,
    'student': student,
    'method': method,
    'batch_size': BATCH,
    'devices': made.program.devices.count,
    'milliseconds_of_a_step': _rounded(1e3 * step),
    'milliseconds_of_a_dispatch': _rounded(1e3 * dispatch),
    'share_of_half_a_second': _rounded(dispatch / SHORTEST),
    'step_in_the_loop_over_alone': _rounded(step / (alone / MANY)),
    'seconds': seconds,
  }


def _rounded(number: float) -> float:
  return float(f'{number:.3g}')


if __name__ == '__main__':
  main()
