"""How much memory a run takes whose set lies on the devices.

  python -m benchmarks.resident

One process for each number of CPU devices: the loop is compiled, then the set
is read from a file and steps are done. What the process has grown to at most
since it was compiled is compared with the bytes of the set, three times the
student's parameters (themselves, gradients, momentum) and the activations
(XLA's temporaries of the loop), the latter two on each device. Writes
`benchmarks/results/resident.json`.
"""

import ctypes
import functools
import gc
import json
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

import jax
import numpy as np

from benchmarks import _record
from benchmarks.start import CLASSES, IMAGE_SHAPE, TRAIN, write_set
from kdjax import data, methods, models
from kdjax.data import Augmentation
from kdjax.runtime.cpu_devices import use_cores
from kdjax.runtime.mesh import all_devices
from kdjax.tasks import SingleLabel
from kdjax.train import Parts, Program, Recipe, init_state

BATCH, STEPS = 64, 3
# Teacher, student and method.
CASES = ((None, 'resnet8x4', 'none'), ('resnet20', 'resnet8', 'kd'))


def main() -> None:
  """Measures and writes."""
  rows = []
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / 'set.npz'
    write_set(path)
    for number in range(len(CASES)):
      for devices in (1, 2):
        command = [sys.executable, '-m', 'benchmarks.resident', str(path)]
        found = subprocess.run(
          [*command, str(number), str(devices)],
          stdout=subprocess.PIPE,
          text=True,
          check=True,
        )
        rows.append(json.loads(found.stdout))
  print(_record.record('resident', rows))


class _Later:
  """What is known of a set before it is read."""

  image_shape = IMAGE_SHAPE

  def __len__(self) -> int:
    return TRAIN


class _Unplaced(Program):
  """A program that is compiled before there is a set."""

  def place(self, split: Any) -> Any:
    """The shapes alone."""
    shapes = {
      'image': ((len(split), *split.image_shape), np.uint8),
      'label': ((len(split),), np.int32),
      'index': ((len(split),), np.int32),
    }
    return {
      name: jax.ShapeDtypeStruct(*form, sharding=self.devices.everywhere)
      for name, form in shapes.items()
    }


def _measure(path: pathlib.Path, number: int, count: int) -> dict[str, Any]:
  use_cores(count)
  parts, devices = _parts(*CASES[number]), all_devices()
  program = _Unplaced(parts, devices, _Later(), BATCH)
  key = jax.random.key(0)
  teacher = {}
  if parts.teacher is not None:
    teacher = parts.teacher.initialize(key, IMAGE_SHAPE)
  state = init_state(parts, key, IMAGE_SHAPE, BATCH, teacher)

  teacher_here = devices.replicate(teacher)
  carry = program.first_carry(devices.replicate(state), teacher_here)
  order = program.order(devices.replicate(jax.random.key(1)), 0)
  compiled = program.advance.lower(
    carry, teacher_here, program.train_data, order, np.int32(1)
  ).compile()
  held = count * _bytes((carry, teacher_here)) // 1024
  before = _begin() - held
  dataset = data.load(f'npz:{path}')
  train = Program.place(program, dataset.train)
  test = Program.place(program, dataset.test)
  loaded = _kilobytes('VmHWM') - before
  for step in range(STEPS):
    carry = compiled(carry, teacher_here, train, order, np.int32(step + 1))
  jax.block_until_ready(carry)
  grown = _kilobytes('VmHWM') - before
  sizes = {
    'data': _bytes((train, test)),
    'parameters': 3 * count * _bytes(state.params['student']),
    'activations': count * compiled.memory_analysis().temp_size_in_bytes,
  }
  teacher_name, student, method = CASES[number]
  return {
    'teacher': teacher_name,
    'student': student,
    'method': method,
    'batch_size': BATCH,
    'devices': count,
    'grown_megabytes': _rounded(grown * 1024 / 1e6),
    'grown_megabytes_by_loading': _rounded(loaded * 1024 / 1e6),
    'megabytes': {name: _rounded(size / 1e6) for name, size in sizes.items()},
    'grown_over_them': _rounded(grown * 1024 / sum(sizes.values())),
  }


def _parts(teacher: str | None, student: str, method: str) -> Parts:
  create = functools.partial(models.create, num_classes=CLASSES)
  return Parts(
    student=create(student),
    teacher=None if teacher is None else create(teacher),
    method=methods.create(method),
    task=SingleLabel(),
    augment=Augmentation(crop_padding=4, flip=True),
    optimizer=Recipe(batch_size=BATCH).optimizer(-(-TRAIN // BATCH)),
    steps_per_epoch=-(-TRAIN // BATCH),
  )


def _begin() -> int:
  """What the process holds when it gives back what compiling left free."""
  gc.collect()
  ctypes.CDLL(None).malloc_trim(0)
  pathlib.Path('/proc/self/clear_refs').write_text('5')  # VmHWM begins anew
  return _kilobytes('VmRSS')


def _kilobytes(name: str) -> int:
  lines = pathlib.Path('/proc/self/status').read_text().splitlines()
  (line,) = (line for line in lines if line.startswith(f'{name}:'))
  return int(line.split()[1])


def _bytes(tree: Any) -> int:
  return sum(array.nbytes for array in jax.tree.leaves(tree))


def _rounded(number: float) -> float:
  return float(f'{number:.4g}')


if __name__ == '__main__':
  if len(sys.argv) > 1:
    print(
      json.dumps(_measure(pathlib.Path(sys.argv[1]), *map(int, sys.argv[2:])))
    )
  else:
    main()
