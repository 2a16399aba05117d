"""Cost of a method's step relative to KD: time, operations, memory.

  python -m benchmarks.methods

Writes `benchmarks/results/methods.json`. Steps are those of the loop over
resident data, where the methods of a pair take turns with KD; compile time and
peak memory are those of the compiled loop. Operations are counted by XLA in the
step before compilation. FCFD draws new paths in each step: its operations are
the mean over all paths, each of which is counted with that path given.
"""

import functools

import jax

from benchmarks import flag_types, timing
from benchmarks._step import Pair
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
  """Returns a row for each method of a pair."""
  pairs = {
    name: Pair(teacher, student, name, batch_size) for name in ('kd', *names)
  }
  loops = {name: pair.compile() for name, pair in pairs.items()}
  calls = {
    name: functools.partial(pair.loop, steps) for name, pair in pairs.items()
  }
  seconds = timing.take_turns(calls, repeats=repeats)
  per_step = timing.per_step(seconds, steps)
  flops = {name: pair.operations() for name, pair in pairs.items()}
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
        'seconds_per_step': {key: per_step[key] for key in ('kd', name)},
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
  parser = flag_types.make_parser(__doc__, repeats=5)
  parser.add_argument('--batch_size', type=int, default=64)
  parser.add_argument('--steps', type=int, default=8)
  parser.add_argument('--pairs', type=int, default=len(ROWS))
  flags = parser.parse_args()
  share_cores(flags.batch_size)  # as commands do
  rows = []
  for teacher, student, names in ROWS[: flags.pairs]:
    rows += measure(
      teacher, student, names, flags.batch_size, flags.steps, flags.repeats
    )
  timing.record(flags.output / 'methods.json', rows)


if __name__ == '__main__':
  main()
