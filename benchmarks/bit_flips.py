"""Detection of one flipped bit in stored weights.

  python -m benchmarks.bit_flips

Saves the variables of a network as runs and the cache of teachers do, and a
training state as checkpoints do. Each trial flips one bit, drawn over all bytes
of the folder, reads it, and repairs it. Outcomes:

* refused: an error, or the previous checkpoint is used
* equal: the arrays are those that were saved
* undetected: other arrays are returned

Writes `benchmarks/results/bit_flips.json`.
"""

import collections
import pathlib
import random
import shutil
import tempfile
from collections.abc import Callable
from typing import Literal

import jax
import numpy as np

from benchmarks import flag_types, timing
from kdjax import convert, models
from kdjax.runtime import checkpoints
from kdjax.typing import PyTree

Outcome = Literal['refused', 'equal', 'undetected']
Read = Callable[[pathlib.Path], PyTree | None]

NETWORK, CLASSES, IMAGE_SHAPE = 'resnet20', 100, (32, 32, 3)


def main() -> None:
  """Measures and writes."""
  parser = flag_types.make_parser(__doc__, repeats=None)
  parser.add_argument(
    '--flips', type=int, default=500, help='number of trials of each reader'
  )
  flags = parser.parse_args()
  rows = []
  with tempfile.TemporaryDirectory() as name:
    for reader, (folder, read, expected) in readers(pathlib.Path(name)).items():
      counts = collections.Counter(
        trial(folder, read, expected, random.Random(seed))
        for seed in range(flags.flips)
      )
      size = sum(path.stat().st_size for path in files_of(folder))
      row = {'reader': reader, 'flips': flags.flips, 'bytes': size}
      outcomes = ('refused', 'equal', 'undetected')
      rows.append(row | {outcome: counts[outcome] for outcome in outcomes})
  timing.record(flags.output / 'bit_flips.json', rows)


def readers(
  folder: pathlib.Path, network: str = NETWORK
) -> dict[str, tuple[pathlib.Path, Read, PyTree]]:
  """Saves weights, and returns their readers.

  Args:
    folder: An empty folder.
    network: Name of the network.

  Returns:
    By name: the folder to damage, a function that reads it, and its expected
    result.
  """
  model = models.create(network, num_classes=CLASSES)
  template = model.describe(IMAGE_SHAPE).variables
  state, previous = (
    {'variables': _random(template, seed), 'momentum': _random(template, seed)}
    for seed in (1, 0)
  )
  variables = state['variables']
  run, latest = folder / 'run', folder / 'checkpoints'
  checkpoints.save_variables(run / 'student', variables)
  saving = checkpoints.Checkpoints(latest)
  saving.save(1, previous)
  saving.save(2, state)
  saving.close()

  def newest(folder: pathlib.Path) -> PyTree | None:
    # A copy, because a damaged checkpoint is renamed.
    copied = shutil.copytree(folder.parents[1], folder.parents[2] / 'copied')
    reading = checkpoints.Checkpoints(copied)
    try:
      tree = reading.restore_latest(state, lambda _: None)
    finally:
      reading.close()
      shutil.rmtree(copied)
    return None if tree is None or equal(tree, previous) else tree

  return {
    'checkpoint': (latest / 'latest' / '2', newest, state),
    'teacher': (
      run / 'student',
      lambda folder: checkpoints.load_variables(folder, template),
      variables,
    ),
    'student': (
      run / 'student',
      lambda folder: convert.load(folder.parent, template),
      variables,
    ),
  }


def trial(
  folder: pathlib.Path, read: Read, expected: PyTree, chance: random.Random
) -> Outcome:
  """Flips one bit in a folder, reads it, and repairs it.

  Args:
    folder: Folder of stored arrays.
    read: Reads it; raises, or returns `None`, if it finds damage.
    expected: Result of `read` without damage.
    chance: Draws the bit.
  """
  path, position = _byte(folder, chance)
  content = path.read_bytes()
  flipped = bytearray(content)
  flipped[position] ^= 1 << chance.randrange(8)
  path.write_bytes(flipped)
  try:
    tree = read(folder)
  except Exception:  # which errors users see is tested elsewhere
    return 'refused'
  finally:
    path.write_bytes(content)
  if tree is None:
    return 'refused'
  return 'equal' if equal(tree, expected) else 'undetected'


def files_of(folder: pathlib.Path) -> list[pathlib.Path]:
  """Returns all files below a folder, in order."""
  return sorted(path for path in folder.rglob('*') if path.is_file())


def _byte(
  folder: pathlib.Path, chance: random.Random
) -> tuple[pathlib.Path, int]:
  """Draws a byte of a folder: its file and its position there."""
  paths = files_of(folder)
  position = chance.randrange(sum(path.stat().st_size for path in paths))
  for path in paths:
    size = path.stat().st_size
    if position < size:
      return path, position
    position -= size
  raise AssertionError


def _random(template: PyTree, seed: int) -> PyTree:
  """Returns random arrays, which cannot be compressed."""
  generator = np.random.default_rng(seed)
  return jax.tree.map(
    lambda leaf: generator.normal(size=leaf.shape).astype(leaf.dtype), template
  )


def equal(tree: PyTree, other: PyTree) -> bool:
  """Returns whether two trees are bit-identical."""
  return jax.tree.structure(tree) == jax.tree.structure(other) and all(
    np.asarray(a).dtype == np.asarray(b).dtype
    and np.asarray(a).tobytes() == np.asarray(b).tobytes()
    for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True)
  )


if __name__ == '__main__':
  main()
