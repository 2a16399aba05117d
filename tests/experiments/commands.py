"""The commands as a person runs them, on a set that trains in a moment."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import orbax.checkpoint as ocp
from PIL import Image

from experiments import cifar as cifar_command
from kdjax.runtime import files
from kdjax.runtime.checkpoints import load_variables
from tests.train import support

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
SMALL = (
  '--method=kd',
  '--student=convnet_4_8',
  '--teacher=convnet_8_16',
  '--batch_size=8',
  '--epochs=3',
)
TIMES = ('seconds', 'images_per_second', 'compilations')  # of one process


def write_npz(folder: pathlib.Path, **changes: np.ndarray) -> str:
  """A set of three patterns, or what is left of it; its `--dataset`."""
  folder.mkdir(parents=True, exist_ok=True)
  train, test = support.arrays(24, 1), support.arrays(15, 2)
  arrays = dict(zip(('x_train', 'y_train', 'x_test', 'y_test'), train + test))
  np.savez(folder / 'toy.npz', **{**arrays, **changes})
  return f'npz:{folder / "toy.npz"}'


def write_folder(folder: pathlib.Path) -> None:
  """The same set as a folder of images, a folder for each class."""
  for split, count, seed in (('train', 24, 1), ('test', 15, 2)):
    for i, (image, label) in enumerate(zip(*support.arrays(count, seed))):
      path = folder / split / f'pattern {label}' / f'{i:02d}.png'
      path.parent.mkdir(parents=True, exist_ok=True)
      Image.fromarray(image[..., 0]).save(path)


def cifar(*flags: str) -> int:
  """The exit status of `python -m experiments.cifar FLAGS`, in this process."""
  return cifar_command.COMMAND.main(flags)


def start(
  module: str, *flags: str, cache: pathlib.Path, **more
) -> subprocess.Popen[str]:
  """`python -m experiments.MODULE FLAGS`, with its output in pipes."""
  return subprocess.Popen(
    [sys.executable, '-m', f'experiments.{module}', *flags],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    env=environment(cache, **more.pop('environment', {})),
    **more,
  )


def environment(cache: pathlib.Path, **changes: str) -> dict[str, str]:
  """In which commands keep what they compile and train to `cache`."""
  return {
    **os.environ,
    'KDJAX_CACHE': str(cache / 'teachers'),
    'JAX_COMPILATION_CACHE_DIR': str(cache / 'compiled'),
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
    'JAX_PLATFORMS': 'cpu',
    'PYTHONPATH': str(REPOSITORY),
    'PYTHONUNBUFFERED': '1',
    'XLA_FLAGS': '',
    **changes,
  }


def run(module: str, *flags: str, cache: pathlib.Path, **more) -> str:
  """What a command that must succeed says on the error stream."""
  with start(module, *flags, cache=cache, **more) as process:
    try:
      _, said = process.communicate(timeout=600)
    finally:
      process.kill()
  assert process.returncode == 0, said
  return said


def wait_for(process: subprocess.Popen[str], text: str) -> str:
  """Reads the error stream up to a line with `text`."""
  assert process.stderr is not None
  seen = []
  for line in process.stderr:
    seen.append(line)
    if text in line:
      return ''.join(seen)
  raise AssertionError(f'{text!r} was not among: {"".join(seen)}')


def same_result(one: pathlib.Path, other: pathlib.Path) -> None:
  """Asserts that two work folders hold the same runs, to the bit."""
  runs = [
    sorted(str(run.relative_to(w / 'runs')) for run in w.glob('runs/*/*'))
    for w in (one, other)
  ]
  assert runs[0] == runs[1]
  for run in runs[0]:
    same_result_of(one, other, run)


def same_result_of(one: pathlib.Path, other: pathlib.Path, run: str) -> None:
  """Asserts that a run of two work folders ended alike."""
  a, b = one / 'runs' / run, other / 'runs' / run
  assert lines(a) == lines(b)
  support.identical(student(a), student(b))
  with np.load(a / 'features.npz') as x, np.load(b / 'features.npz') as y:
    support.identical(dict(x), dict(y))


def lines(run: pathlib.Path) -> list[dict]:
  """What is logged of a run, but for times."""
  return [
    {name: value for name, value in line.items() if name not in TIMES}
    for line in files.read_lines(run / 'metrics.jsonl')
  ]


def student(run: pathlib.Path):
  """The final arrays of a run."""
  with ocp.StandardCheckpointer() as reader:
    tree = reader.metadata(run / 'student').item_metadata.tree
  return load_variables(run / 'student', tree)
