"""Concurrent runs, compared with sequential ones.

  python -m benchmarks.together --pairs=resnet20:resnet8 --runs=2

Method kd in float32 on all devices, where each core of a CPU is one. The
variants take turns: the runs one after the other, each batch split over all
devices (`separate`); each run on its own device, in a thread per device
(`devices`). Writes `benchmarks/results/together.json`: seconds of a step of all
runs, including the work between dispatches.
"""

import argparse
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax

from benchmarks import flag_types, timing
from benchmarks._program import first_epoch
from benchmarks._step import Pair
from kdjax.runtime.cpu_devices import share_cores
from kdjax.runtime.mesh import Devices, each_device

STEPS = 4


def main() -> None:
  """Measures and writes."""
  parser = flag_types.make_parser(__doc__, repeats=7)
  parser.add_argument(
    '--pairs',
    type=flag_types.pairs,
    default='resnet20:resnet8,wrn_40_2:wrn_16_2',
  )
  parser.add_argument('--method', default='kd')
  parser.add_argument('--batch_size', type=int, default=64)
  parser.add_argument(
    '--runs',
    type=int,
    default=0,
    help='number of runs (default: one per device, at least 2)',
  )
  flags = parser.parse_args()
  share_cores(flags.batch_size)
  flags.runs = flags.runs or max(2, jax.local_device_count())
  rows = [_row(teacher, student, flags) for teacher, student in flags.pairs]
  timing.record(flags.output / 'together.json', rows)


def _row(
  teacher: str, student: str, flags: argparse.Namespace
) -> dict[str, Any]:
  print(f'{teacher}:{student}', flush=True)
  pair = Pair(
    teacher, student, flags.method, flags.batch_size, steps_per_epoch=STEPS
  )
  on_all = first_epoch(pair.epochs, pair.state, pair.frozen)
  on_each = [_epoch_on(pair, one) for one in each_device()[: flags.runs]]
  seconds = timing.take_turns(
    {
      'separate': lambda: _one_after_the_other(on_all, flags.runs),
      'devices': lambda: _at_the_same_time(on_each, flags.runs),
    },
    repeats=flags.repeats,
  )
  return {
    'pair': f'{teacher}:{student}',
    'method': flags.method,
    'batch_size': flags.batch_size,
    'runs': flags.runs,
    'devices': pair.program.devices.count,
    'devices_over_separate': timing.ratio(seconds, 'devices', 'separate'),
    'seconds_per_step_of_all': timing.per_step(seconds, STEPS),
  }


def _epoch_on(pair: Pair, devices: Devices) -> Callable[[], None]:
  """Returns the first epoch of a run on other devices."""
  return first_epoch(
    pair.epochs.on(devices),
    devices.replicate(pair.state),
    devices.replicate(pair.frozen),
  )


def _one_after_the_other(epoch: Callable[[], None], runs: int) -> None:
  for _ in range(runs):
    epoch()


def _at_the_same_time(epochs: list[Callable[[], None]], runs: int) -> None:
  """Trains each run in the thread of a device, as studies do."""

  def work(index: int) -> None:
    with jax.default_device(jax.local_devices()[index]):
      for _ in range(index, runs, len(epochs)):
        epochs[index]()

  with ThreadPoolExecutor(len(epochs)) as pool:
    list(pool.map(work, range(len(epochs))))  # raises the errors of threads


if __name__ == '__main__':
  main()
