"""How long a command takes to its first step, from nothing and again.

  python -m benchmarks.start

`experiments.cifar` on a set of CIFAR's size, with a teacher from a file: once
with an empty cache, where it compiles and judges its teacher, and then as the
same command again, in another work folder. Writes
`benchmarks/results/start.json`: seconds from the start of the process to its
first step and to what it says on the way.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np

from benchmarks import _record
from kdjax import convert, models

TEACHER, STUDENT = 'resnet32x4', 'resnet8x4'
TRAIN, TEST, CLASSES, IMAGE_SHAPE = 50_000, 10_000, 100, (32, 32, 3)
# What the command says, in this order.
PLACES = {
  'imported': ' writes to ',
  'starts': ': starts',
  'first_step': ': step ',
}


def main(again: int = 5) -> None:
  """Measures and writes."""
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    write_set(folder / 'set.npz')
    _write_teacher(folder / 'teacher.safetensors')
    first, *later = [_start(folder, str(turn)) for turn in range(1 + again)]
  row = {
    'student': STUDENT,
    'teacher': TEACHER,
    'images': TRAIN + TEST,
    'seconds_first': {place: _record.spread([first[place]]) for place in first},
    'seconds_again': {
      place: _record.spread([found[place] for found in later])
      for place in first
    },
  }
  print(_record.record('start', [row]))


def write_set(path: pathlib.Path) -> None:
  """A set of CIFAR-100's size, of noise."""
  random = np.random.default_rng(0)
  arrays = {}
  for split, count in (('train', TRAIN), ('test', TEST)):
    arrays[f'x_{split}'] = random.integers(
      0, 256, (count, *IMAGE_SHAPE), np.uint8
    )
    arrays[f'y_{split}'] = np.arange(count) % CLASSES
  np.savez(path, **arrays)


def _write_teacher(path: pathlib.Path) -> None:
  teacher = models.create(TEACHER, num_classes=CLASSES)
  variables = teacher.initialize(jax.random.key(0), IMAGE_SHAPE)
  convert.save_safetensors(path, variables)


def _start(folder: pathlib.Path, name: str) -> dict[str, float]:
  """Seconds to each of the places; the command is ended at the last one."""
  command = [
    *(sys.executable, '-m', 'experiments.cifar', '--method=kd'),
    f'--teacher={TEACHER}',
    f'--student={STUDENT}',
    f'--dataset=npz:{folder / "set.npz"}',
    f'--teacher_checkpoint={folder / "teacher.safetensors"}',
    f'--workdir={folder / name}',
  ]
  found, said = {}, []
  began = time.perf_counter()
  with subprocess.Popen(
    command,
    cwd=pathlib.Path(__file__).resolve().parents[1],
    env={**os.environ, 'KDJAX_CACHE': str(folder / 'cache')},
    stderr=subprocess.PIPE,
    text=True,
  ) as process:
    assert process.stderr is not None
    for line in process.stderr:
      said.append(line)
      for place, text in PLACES.items():
        if text in line:
          found.setdefault(place, time.perf_counter() - began)
      if len(found) == len(PLACES):
        break
    process.kill()
  if len(found) < len(PLACES):
    raise RuntimeError(f'The command ended too early:\n{"".join(said)}')
  return found


if __name__ == '__main__':
  main()
