"""Overhead of a dispatch of the training loop.

  python -m benchmarks.dispatch

A dispatch of n steps takes a + n b seconds: a to start it and to return the
state, b for each step. Both follow from the shortest of many dispatches of one
step and of eight, over 50,000 resident images. Commands use dispatches of at
least half a second (`kdjax/train/dispatch.py`); a is reported relative to that.
Writes `benchmarks/results/dispatch.json`.
"""

import functools
from typing import Any

from benchmarks import flag_types, timing
from benchmarks._step import Pair
from kdjax.runtime.cpu_devices import share_cores

BATCH, IMAGES = 64, 50_000
FEW, MANY = 1, 8
SHORTEST = 0.5  # seconds of the shortest dispatch of a command
# Teacher, student and method.
CASES = (
  ('resnet20', 'resnet8', 'kd'),
  (None, 'resnet8', 'none'),
)


def main() -> None:
  """Measures and writes."""
  flags = flag_types.make_parser(__doc__, repeats=25).parse_args()
  share_cores(BATCH)
  rows = [_row(*case, flags.repeats) for case in CASES]
  timing.record(flags.output / 'dispatch.json', rows)


def _row(
  teacher: str | None, student: str, method: str, repeats: int
) -> dict[str, Any]:
  pair = Pair(teacher, student, method, BATCH, steps_per_epoch=IMAGES // BATCH)
  seconds = timing.take_turns(
    {
      'few': functools.partial(pair.loop, FEW),
      'many': functools.partial(pair.loop, MANY),
      'alone': functools.partial(pair.alone, MANY),
    },
    repeats=repeats,
  )
  few, many, alone = (seconds[name]['min'] for name in seconds)
  step = (many - few) / (MANY - FEW)
  dispatch = few - FEW * step
  return {
    'teacher': teacher,
    'student': student,
    'method': method,
    'batch_size': BATCH,
    'devices': pair.program.devices.count,
    'milliseconds_of_a_step': timing.digits(1e3 * step),
    'milliseconds_of_a_dispatch': timing.digits(1e3 * dispatch),
    'share_of_half_a_second': timing.digits(dispatch / SHORTEST),
    'step_in_the_loop_over_alone': timing.digits(step / (alone / MANY)),
    'seconds': seconds,
  }


if __name__ == '__main__':
  main()
