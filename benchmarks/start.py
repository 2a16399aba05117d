"""Time of a command to its first step, with an empty and a filled cache.

  python -m benchmarks.start

`experiments.cifar` on a dataset of CIFAR's size, with a teacher from a file:
once with an empty cache, where it compiles and evaluates its teacher, and then
the same command several times in other work folders. Writes
`benchmarks/results/start.json`: seconds from the start of the process to its
first step and to the messages that it prints before.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np

from benchmarks import flag_types, timing
from kdjax import convert, models

TEACHER, STUDENT = 'resnet32x4', 'resnet8x4'
TRAIN, TEST, CLASSES, IMAGE_SHAPE = 50_000, 10_000, 100, (32, 32, 3)
# Text of the command's messages, in their order.
MESSAGES = {
  'imported': ' writes to ',
  'starts': ': starts',
  'first_step': ': step ',
}


def main() -> None:
  """Measures and writes."""
  flags = flag_types.make_parser(__doc__, repeats=5).parse_args()
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    write_dataset(folder / 'set.npz')
    _write_teacher(folder / 'teacher.safetensors')
    turns = [_start(folder, str(turn)) for turn in range(1 + flags.repeats)]
    first, *later = turns
  row = {
    'student': STUDENT,
    'teacher': TEACHER,
    'images': TRAIN + TEST,
    'seconds_first': {
      name: timing.median_and_range([first[name]]) for name in first
    },
    'seconds_again': {
      name: timing.median_and_range([times[name] for times in later])
      for name in first
    },
  }
  timing.record(flags.output / 'start.json', [row])


def write_dataset(path: pathlib.Path) -> None:
  """Writes random images of CIFAR-100's size and number as an .npz file."""
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
  """Returns seconds to each message; ends the command at the last one."""
  command = [
    *(sys.executable, '-m', 'experiments.cifar', '--method=kd'),
    f'--teacher={TEACHER}',
    f'--student={STUDENT}',
    f'--dataset=npz:{folder / "set.npz"}',
    f'--teacher_checkpoint={folder / "teacher.safetensors"}',
    f'--workdir={folder / name}',
  ]
  seconds, lines = {}, []
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
      lines.append(line)
      for name, text in MESSAGES.items():
        if text in line:
          seconds.setdefault(name, time.perf_counter() - began)
      if len(seconds) == len(MESSAGES):
        break
    process.kill()
  if len(seconds) < len(MESSAGES):
    raise RuntimeError(f'The command ended too early:\n{"".join(lines)}')
  return seconds


if __name__ == '__main__':
  main()
