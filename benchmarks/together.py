"""Several runs at once against one after the other.

  python -m benchmarks.together --pairs=resnet20:resnet8 --runs=2

On whatever devices there are; cores of a CPU are devices. In turns, float32,
kd: so many runs a dispatch each, the batch split over all devices (`separate`);
each run on a device of its own (`devices`); all as one batched computation
(`vmap`). Writes `benchmarks/results/together.json`: seconds of a step of all
runs, with everything that goes between dispatches.
"""

import argparse
import functools
from typing import Any

import jax
import numpy as np

from benchmarks import _record
from benchmarks._step import Jax
from kdjax.runtime.cpu_devices import share_cores
from kdjax.studies.schedule import Advance, batched, one_by_one, side_by_side
from kdjax.train.loop import Dispatch

STEPS = 4


def main() -> None:
  """Measures and writes."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--pairs', default='resnet20:resnet8,wrn_40_2:wrn_16_2')
  parser.add_argument('--method', default='kd')
  parser.add_argument('--batch_size', type=int, default=64)
  parser.add_argument('--runs', type=int, default=0, help='one per device')
  parser.add_argument('--repeats', type=int, default=7)
  flags = parser.parse_args()
  share_cores(flags.batch_size)
  runs = flags.runs or max(2, jax.local_device_count())
  rows = [
    _row(*pair.split(':'), flags.method, flags.batch_size, runs, flags.repeats)
    for pair in flags.pairs.split(',')
  ]
  _record.record('together', rows)


def _row(
  teacher: str, student: str, method: str, batch: int, runs: int, repeats: int
) -> dict[str, Any]:
  print(f'{teacher}:{student}', flush=True)
  made = Jax(teacher, student, method, batch, steps_per_epoch=STEPS)
  program = made.program
  ways = {
    'separate': one_by_one(program),
    'devices': side_by_side(program),
    'vmap': batched(program, runs),
  }
  calls = {
    name: functools.partial(_epoch, made, way, runs)
    for name, way in ways.items()
  }
  seconds = _record.side_by_side(calls, repeats=repeats)
  per_step = {
    name: {key: value / STEPS for key, value in found.items()}
    for name, found in seconds.items()
  }
  return {
    'pair': f'{teacher}:{student}',
    'method': method,
    'batch_size': batch,
    'runs': runs,
    'devices': program.devices.count,
    'over_separate': {
      name: round(per_step[name]['median'] / per_step['separate']['median'], 3)
      for name in ('devices', 'vmap')
    },
    'seconds_per_step_of_all': per_step,
  }


def _epoch(made: Jax, advance: Advance, runs: int) -> None:
  """The first steps of all runs."""

  def copied():
    return jax.tree.map(lambda array: array.copy(), made.carry)

  asked = {
    run: Dispatch(copied(), made.teacher, made.order, STEPS)
    for run in range(runs)
  }
  found = advance(asked)
  done = [int(carry[0].step) for carry in found.values()]
  if not np.array_equal(done, [STEPS] * runs):
    raise ValueError(f'The runs ended at steps {done}, not {STEPS}.')


if __name__ == '__main__':
  main()
