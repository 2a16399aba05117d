"""Helpers that run commands on a small dataset."""

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
TIMES = ('seconds', 'images_per_second', 'compilations')  # differ by process


def write_npz(folder: pathlib.Path, **changes: np.ndarray) -> str:
  """Writes a dataset of three patterns; returns its `--dataset` value."""
  folder.mkdir(parents=True, exist_ok=True)
  train, test = support.arrays(24, 1), support.arrays(15, 2)
  arrays = dict(zip(('x_train', 'y_train', 'x_test', 'y_test'), train + test))
  np.savez(folder / 'toy.npz', **{**arrays, **changes})
  return f'npz:{folder / "toy.npz"}'


def write_folder(folder: pathlib.Path) -> None:
  """Writes the same dataset as a folder of images, one folder per class."""
  for split, count, seed in (('train', 24, 1), ('test', 15, 2)):
    for i, (image, label) in enumerate(zip(*support.arrays(count, seed))):
      path = folder / split / f'pattern {label}' / f'{i:02d}.png'
      path.parent.mkdir(parents=True, exist_ok=True)
      Image.fromarray(image[..., 0]).save(path)


def cifar(*flags: str) -> int:
  """Runs `experiments.cifar FLAGS` in this process; returns its exit status."""
  return cifar_command.COMMAND.main(flags)


def start(
  module: str, *flags: str, cache: pathlib.Path, **more
) -> subprocess.Popen[str]:
  """Starts `python -m experiments.MODULE FLAGS` with piped output."""
  return subprocess.Popen(
    [sys.executable, '-m', f'experiments.{module}', *flags],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    env=environment(cache, **more.pop('environment', {})),
    **more,
  )


def environment(cache: pathlib.Path, **changes: str) -> dict[str, str]:
  """Returns an environment in which `cache` has programs and teachers."""
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
  """Runs a command that must succeed; returns its error stream."""
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
  """Asserts that two work folders have bit-identical runs."""
  runs = [
    sorted(str(run.relative_to(w / 'runs')) for run in w.glob('runs/*/*'))
    for w in (one, other)
  ]
  assert runs[0] == runs[1]
  for run in runs[0]:
    same_result_of(one, other, run)


def same_result_of(one: pathlib.Path, other: pathlib.Path, run: str) -> None:
  """Asserts that a run is bit-identical in two work folders."""
  a, b = one / 'runs' / run, other / 'runs' / run
  assert lines(a) == lines(b)
  support.identical(student(a), student(b))
  with np.load(a / 'features.npz') as x, np.load(b / 'features.npz') as y:
    support.identical(dict(x), dict(y))


def lines(run: pathlib.Path) -> list[dict]:
  """Returns the log lines of a run without times."""
  return [
    {name: value for name, value in line.items() if name not in TIMES}
    for line in files.read_lines(run / 'metrics.jsonl')
  ]


def student(run: pathlib.Path):
  """Returns the final variables of a run."""
  with ocp.StandardCheckpointer() as reader:
    tree = reader.metadata(run / 'student').item_metadata.tree
  return load_variables(run / 'student', tree)
