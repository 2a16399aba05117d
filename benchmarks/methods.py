"""What a method's step costs over that of KD: time, operations, memory.

  python -m benchmarks.methods

Writes `benchmarks/results/methods.json`. Steps are those of the loop over
resident data, the methods of a pair taking turns with KD; compile time and peak
memory are of the program of that loop. Operations are what XLA counts in the
step it is given. FCFD draws its paths anew in each step: its operations are the
mean over all it may draw, counted with each path forced.
"""

import argparse
import functools

import jax

from benchmarks import _record
from benchmarks._step import Jax
from kdjax.runtime.cpu_devices import share_cores

ROWS = (
  ('resnet32x4', 'resnet8x4', ('fcfd', 'icd', 'lshfm', 'ssim')),
  ('wrn_40_2', 'wrn_16_2', ('fcfd',)),
  ('resnet56', 'resnet20', ('fcfd',)),
)


def measure(
  teacher: str,
  student: str,
  names: tuple[str, ...],
  batch_size: int,
  steps: int,
  repeats: int,
) -> list[dict]:
  """A row for each method of a pair."""
  made = {
    name: Jax(teacher, student, name, batch_size) for name in ('kd', *names)
  }
  loops = {name: one.compile() for name, one in made.items()}
  calls = {
    name: functools.partial(one.loop, steps) for name, one in made.items()
  }
  seconds = _record.side_by_side(calls, repeats=repeats)
  flops = {name: one.operations() for name, one in made.items()}
  rows = []
  for name in names:
    ratios = {
      'time': seconds[name]['median'] / seconds['kd']['median'],
      'operations': flops[name] / flops['kd'],
      'compile': loops[name].seconds / loops['kd'].seconds,
      'memory': loops[name].peak_bytes / loops['kd'].peak_bytes,
    }
    ratios['time_over_operations'] = ratios['time'] / ratios['operations']
    rows.append(
      {
        'teacher': teacher,
        'student': student,
        'method': name,
        'batch_size': batch_size,
        'seconds_per_step': {
          key: {k: float(f'{v / steps:.4g}') for k, v in seconds[key].items()}
          for key in ('kd', name)
        },
        'devices': jax.device_count(),
        'megabytes_of_a_device': {
          key: round(loops[key].peak_bytes / 1e6, 1) for key in ('kd', name)
        },
        'compile_seconds': {
          key: round(loops[key].seconds, 2) for key in ('kd', name)
        },
        'gigaflops': {key: round(flops[key] / 1e9, 2) for key in ('kd', name)},
        'over_kd': {key: round(value, 3) for key, value in ratios.items()},
      }
    )
  return rows


def main() -> None:
  """Measures every pair."""
  parser = argparse.ArgumentParser()
  parser.add_argument('--batch_size', type=int, default=64)
  parser.add_argument('--steps', type=int, default=8)
  parser.add_argument('--repeats', type=int, default=5)
  parser.add_argument('--pairs', type=int, default=len(ROWS))
  flags = parser.parse_args()
  share_cores(flags.batch_size)  # as the commands do
  rows = []
  for teacher, student, names in ROWS[: flags.pairs]:
    rows += measure(
      teacher, student, names, flags.batch_size, flags.steps, flags.repeats
    )
  _record.record('methods', rows)


if __name__ == '__main__':
  main()
