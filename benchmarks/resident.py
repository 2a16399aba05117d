"""Memory of a run with resident data.

  python -m benchmarks.resident

One process for each number of CPU devices compiles the loop, then reads the
dataset from a file and trains some steps. Its peak growth since compilation is
compared with the bytes of the dataset, three times the student's parameters
(parameters, gradients, momentum) and the activations (XLA's temporaries of the
loop), the latter two for each device. Writes
`benchmarks/results/resident.json`.
"""

import argparse
import ctypes
import gc
import json
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

import jax
import numpy as np

from benchmarks import flag_types, timing
from benchmarks._program import initialize, make_program
from benchmarks.start import CLASSES, IMAGE_SHAPE, TRAIN, write_dataset
from kdjax import data
from kdjax.runtime.cpu_devices import use_cores
from kdjax.runtime.mesh import Devices, all_devices
from kdjax.train import Frozen, ResidentEpochs

BATCH, STEPS = 64, 3
# Teacher, student and method.
CASES = ((None, 'resnet8x4', 'none'), ('resnet20', 'resnet8', 'kd'))


def main() -> None:
  """Measures and writes, or prints the row of one process."""
  parser = flag_types.make_parser(__doc__, repeats=None)
  parser.add_argument('--cases', type=int, default=len(CASES))
  # Each case has its own process, without allocations of other cases.
  for name, kind in (('path', pathlib.Path), ('case', int), ('devices', int)):
    parser.add_argument(f'--{name}', type=kind, help=argparse.SUPPRESS)
  flags = parser.parse_args()
  if flags.path is not None:
    print(json.dumps(_measure(flags.path, flags.case, flags.devices)))
    return
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / 'dataset.npz'
    write_dataset(path)
    rows = [
      _in_process(path, case, devices)
      for case in range(flags.cases)
      for devices in (1, 2)
    ]
  timing.record(flags.output / 'resident.json', rows)


def _in_process(path: pathlib.Path, case: int, devices: int) -> dict[str, Any]:
  """Returns the row that a new process prints."""
  command = [sys.executable, '-m', 'benchmarks.resident', f'--path={path}']
  process = subprocess.run(
    [*command, f'--case={case}', f'--devices={devices}'],
    stdout=subprocess.PIPE,
    text=True,
    check=True,
  )
  return json.loads(process.stdout)


class _SplitShape:
  """Shapes of a split that has not been read."""

  image_shape = IMAGE_SHAPE
  labels = jax.ShapeDtypeStruct((TRAIN,), np.int32)

  def __len__(self) -> int:
    return TRAIN


def _data_shapes(devices: Devices) -> dict[str, jax.ShapeDtypeStruct]:
  """Returns shapes of the training data on the devices."""
  shapes = {
    'image': ((TRAIN, *IMAGE_SHAPE), np.uint8),
    'label': ((TRAIN,), np.int32),
    'index': ((TRAIN,), np.int32),
  }
  return {
    name: jax.ShapeDtypeStruct(shape, dtype, sharding=devices.replicated)
    for name, (shape, dtype) in shapes.items()
  }


def _measure(path: pathlib.Path, case: int, count: int) -> dict[str, Any]:
  """Returns the row of a case on a number of devices."""
  use_cores(count)
  devices = all_devices()
  program = make_program(
    *CASES[case],
    train=_SplitShape(),
    batch_size=BATCH,
    devices=devices,
    num_classes=CLASSES,
  )
  epochs = ResidentEpochs(program, _data_shapes(devices))
  state, variables = initialize(program)
  frozen = Frozen(teacher=devices.replicate(variables))
  carry = epochs.first_carry(devices.replicate(state), frozen)
  order = epochs.begin_epoch(devices.replicate(jax.random.key(1)), 0)
  compiled = epochs.lower(carry, frozen, order).compile()
  state_kilobytes = count * _bytes((carry, frozen)) // 1024
  before = _reset_peak() - state_kilobytes
  dataset = data.load(f'npz:{path}')
  train, test = epochs.place(dataset.train), epochs.place(dataset.test)
  loaded = _kilobytes('VmHWM') - before
  for step in range(STEPS):
    carry = compiled(carry, frozen, train, order, np.int32(step + 1))
  jax.block_until_ready(carry)
  grown = _kilobytes('VmHWM') - before
  sizes = {
    'data': _bytes((train, test)),
    'parameters': 3 * count * _bytes(state.params['student']),
    'activations': count * compiled.memory_analysis().temp_size_in_bytes,
  }
  teacher, student, method = CASES[case]
  return {
    'teacher': teacher,
    'student': student,
    'method': method,
    'batch_size': BATCH,
    'devices': count,
    'grown_megabytes': timing.digits(grown * 1024 / 1e6, 4),
    'grown_megabytes_by_loading': timing.digits(loaded * 1024 / 1e6, 4),
    'megabytes': {
      name: timing.digits(size / 1e6, 4) for name, size in sizes.items()
    },
    'grown_over_them': timing.digits(grown * 1024 / sum(sizes.values()), 4),
  }


def _reset_peak() -> int:
  """Releases unused memory, resets the peak, and returns resident kilobytes."""
  gc.collect()
  ctypes.CDLL(None).malloc_trim(0)
  pathlib.Path('/proc/self/clear_refs').write_text('5')  # resets VmHWM
  return _kilobytes('VmRSS')


def _kilobytes(name: str) -> int:
  lines = pathlib.Path('/proc/self/status').read_text().splitlines()
  (line,) = (line for line in lines if line.startswith(f'{name}:'))
  return int(line.split()[1])


def _bytes(tree: Any) -> int:
  return sum(array.nbytes for array in jax.tree.leaves(tree))


if __name__ == '__main__':
  main()
