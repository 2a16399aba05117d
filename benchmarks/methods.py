"""What a method's step costs over that of KD: time, operations, memory.

  python -m benchmarks.methods

Writes `results/benchmarks/methods.json`. Steps are those of the loop over
resident data, the methods of a pair taking turns with KD; compile time and peak
memory are of the program of that loop. Operations are what XLA counts in the
compiled step. FCFD draws its paths anew in each step: its
operations are the mean over all it may draw, counted with each path forced.
"""

import argparse
import dataclasses
import functools
import time

import jax
import numpy as np

from benchmarks import _record
from benchmarks.train_step import Jax
from kdjax.methods import Fcfd
from kdjax.methods.fcfd_paths import candidates
from kdjax.train.step import train_step

ROWS = (
  ('resnet32x4', 'resnet8x4', ('fcfd', 'icd', 'lshfm', 'ssim')),
  ('wrn_40_2', 'wrn_16_2', ('fcfd',)),
  ('resnet56', 'resnet20', ('fcfd',)),
)


@dataclasses.dataclass(frozen=True)
class Compiled:
  """A compiled program, and what that took."""

  seconds: float
  flops: float
  bytes: float


def step_of(made: Jax, method=None) -> Compiled:
  """The step of a pair by itself, with its own method or with another one."""
  parts = made.parts
  if method is not None:
    parts = dataclasses.replace(parts, method=method)
  step = jax.jit(functools.partial(train_step, parts=parts), donate_argnums=0)
  return _compiled(step.lower(made.state, made.teacher, made.batch))


def loop_of(made: Jax) -> Compiled:
  """The program that trains: the loop over resident data."""
  lowered = made.program.advance.lower(
    made.carry, made.teacher, made.program.train_data, made.key, np.int32(1)
  )
  return _compiled(lowered)


def _compiled(lowered) -> Compiled:
  began = time.perf_counter()
  program = lowered.compile()
  seconds = time.perf_counter() - began
  memory = program.memory_analysis()
  return Compiled(
    seconds,
    program.cost_analysis()['flops'],
    memory.temp_size_in_bytes
    + memory.argument_size_in_bytes
    + memory.output_size_in_bytes
    - memory.alias_size_in_bytes,
  )


def operations(made: Jax) -> float:
  """Floating-point operations of a step, the mean over what it may draw."""
  method = made.parts.method
  if not isinstance(method, Fcfd):
    return step_of(made).flops
  stages = len(made.parts.teacher.describe((32, 32, 3)).features.boundaries)
  without = step_of(made, dataclasses.replace(method, directions='nomix'))
  paths = candidates(stages, method.directions)
  forced = [
    step_of(made, dataclasses.replace(method, paths=(path.name,))).flops
    for path in paths
  ]
  mean = sum(forced) / len(forced)
  return without.flops + 2 * (mean - without.flops)


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
  loops = {name: loop_of(one) for name, one in made.items()}  # not yet compiled
  calls = {
    name: functools.partial(one.loop, steps) for name, one in made.items()
  }
  seconds = _record.side_by_side(calls, repeats=repeats)
  flops = {name: operations(one) for name, one in made.items()}
  rows = []
  for name in names:
    ratios = {
      'time': seconds[name]['median'] / seconds['kd']['median'],
      'operations': flops[name] / flops['kd'],
      'compile': loops[name].seconds / loops['kd'].seconds,
      'memory': loops[name].bytes / loops['kd'].bytes,
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
        'megabytes': {
          key: round(loops[key].bytes / 1e6, 1) for key in ('kd', name)
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
  rows = []
  for teacher, student, names in ROWS[: flags.pairs]:
    rows += measure(
      teacher, student, names, flags.batch_size, flags.steps, flags.repeats
    )
  _record.record('methods', rows)


if __name__ == '__main__':
  main()
