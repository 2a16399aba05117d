"""A distillation step: alone, in the loop over resident data, and PyTorch's.

  python -m benchmarks.train_step

Writes `results/benchmarks/train_step.json`: seconds of a step dispatched by
itself, of one inside the loop of many steps per dispatch, and, where torch is
installed, of the same pair in an eager PyTorch loop; all take turns in one run.
The PyTorch loop neither indexes nor augments its images; ours do.
"""

import argparse
import functools
import importlib.util

import jax
import numpy as np

from benchmarks import _record
from kdjax import methods, models
from kdjax.data import Augmentation, Split
from kdjax.tasks import SingleLabel
from kdjax.train import Parts, Program, Recipe, all_devices, init_state
from kdjax.train.step import train_step

PAIRS = (('resnet20', 'resnet8'), ('resnet32x4', 'resnet8x4'))


class Jax:
  """One pair and method, as a step by itself and as a loop."""

  def __init__(self, teacher: str, student: str, method: str, batch_size: int):
    recipe = Recipe(batch_size=batch_size)
    random = np.random.default_rng(0)
    self.steps_per_epoch = 1000
    split = Split(
      random.integers(0, 256, (batch_size * 4, 32, 32, 3)).astype(np.uint8),
      random.integers(0, 100, batch_size * 4).astype(np.int32),
    )
    create = functools.partial(models.create, num_classes=100)
    self.parts = Parts(
      student=create(student),
      teacher=create(teacher),
      method=methods.create(method),
      task=SingleLabel(),
      augment=Augmentation(crop_padding=4, flip=True),
      optimizer=recipe.optimizer(4),
      steps_per_epoch=4,
    )
    self.program = Program(self.parts, all_devices(), split, batch_size)
    key = jax.random.key(0)
    self.teacher = self.parts.teacher.initialize(key, (32, 32, 3))
    state = init_state(self.parts, key, (32, 32, 3), batch_size, self.teacher)
    self.key = jax.random.key(1)
    self.sums = self.program.init_sums(state, self.teacher)
    self.carry = (state, self.sums)
    self.step = jax.jit(functools.partial(train_step, parts=self.parts))
    self.state = jax.tree.map(lambda array: array.copy(), state)
    self.batch = jax.tree.map(
      lambda array: array[:batch_size], self.program.train_data
    )

  def alone(self, steps: int) -> None:
    """Dispatches step by step, as for data that are streamed."""
    for _ in range(steps):
      self.state, _ = self.step(self.state, self.teacher, self.batch)
    jax.block_until_ready(self.state.params)

  def loop(self, steps: int) -> None:
    """Dispatches epochs of four steps each."""
    for _ in range(steps // 4):
      stop = int(self.carry[0].step) + 4
      self.carry = self.program.advance(
        self.carry,
        self.teacher,
        self.program.train_data,
        self.key,
        np.int32(stop),
      )
    jax.block_until_ready(self.carry[0].params)


def measure(
  teacher: str,
  student: str,
  method: str,
  batch_size: int,
  steps: int,
  repeats: int,
) -> dict:
  """Seconds per step of each way, and their ratios."""
  ours = Jax(teacher, student, method, batch_size)
  calls = {
    'step': lambda: ours.alone(steps),
    'loop': lambda: ours.loop(steps),
  }
  if method == 'kd' and importlib.util.find_spec('torch'):
    from benchmarks import torch_loop

    theirs = torch_loop.Loop(teacher, student, batch_size)
    calls['torch'] = lambda: theirs.run(steps)
  seconds = _record.side_by_side(calls, repeats=repeats)
  medians = {name: value['median'] for name, value in seconds.items()}
  row = {
    'teacher': teacher,
    'student': student,
    'method': method,
    'batch_size': batch_size,
    'seconds_per_step': {
      name: {key: float(f'{v / steps:.4g}') for key, v in value.items()}
      for name, value in seconds.items()
    },
    'loop_over_step': round(medians['loop'] / medians['step'], 3),
  }
  if 'torch' in medians:
    row['loop_over_torch'] = round(medians['loop'] / medians['torch'], 3)
  return row


def main() -> None:
  """Measures every pair with KD and KD²M."""
  parser = argparse.ArgumentParser()
  parser.add_argument('--batch_size', type=int, default=64)
  parser.add_argument('--steps', type=int, default=8)
  parser.add_argument('--repeats', type=int, default=5)
  flags = parser.parse_args()
  rows = [
    measure(*pair, method, flags.batch_size, flags.steps, flags.repeats)
    for pair in PAIRS
    for method in ('kd', 'kd2m')
  ]
  _record.record('train_step', rows)


if __name__ == '__main__':
  main()
