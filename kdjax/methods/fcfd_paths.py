"""FCFD's paths: stages of one network, a bridge, stages of the other."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

Directions = Literal['bi', 's2t', 't2s', 'nomix']


class Path(NamedTuple):
  """A path that changes networks once.

  Attributes:
    split: Index of the last stage of the first network.
    to_teacher: Whether the first network is the student.
    stages: Number of stages of each network.
  """

  split: int
  to_teacher: bool
  stages: int

  @property
  def name(self) -> str:
    """One digit per stage, 0 for the teacher: `1100` is split 1 of 4."""
    first, second = '10' if self.to_teacher else '01'
    before = self.split + 1
    return first * before + second * (self.stages - before)


def candidates(stages: int, directions: Directions) -> tuple[Path, ...]:
  """Returns all paths between two networks.

  No path changes networks after the stem, whose bridge does not exist, or after
  the last stage, behind which no stage is left.

  Args:
    stages: Number of stages of each network, including the stem.
    directions: `s2t` from the student to the teacher, `t2s` back, `bi` both,
      `nomix` none.
  """
  wanted: dict[Directions, tuple[bool, ...]] = {
    'bi': (False, True),
    's2t': (True,),
    't2s': (False,),
    'nomix': (),
  }
  return tuple(
    Path(split, to_teacher, stages)
    for to_teacher in wanted[directions]
    for split in range(1, stages - 1)
  )


def named(names: Sequence[str], known: Sequence[Path]) -> tuple[Path, ...]:
  """Returns the paths of some names.

  Args:
    names: Names of paths, such as `1100`.
    known: The paths of the two networks.

  Raises:
    ValueError: If a name is not that of a known path.
  """
  by_name = {path.name: path for path in known}
  for name in names:
    if name not in by_name:
      raise ValueError(
        f'There is no path {name!r} between these networks. Paths have one '
        f'digit per stage, 0 for the teacher: {", ".join(by_name) or "none"}.'
      )
  return tuple(by_name[name] for name in names)


def draw(
  key: jax.Array, paths: Sequence[Path], count: int
) -> dict[Path, jax.Array | bool]:
  """Draws different paths, all equally likely.

  Args:
    key: Random key.
    paths: The paths to draw from.
    count: Number of paths to draw.

  Returns:
    Whether each path is drawn, bool `[]`; `True` if all are.
  """
  if count == len(paths):
    return dict.fromkeys(paths, True)
  drawn = jax.random.choice(key, len(paths), (count,), replace=False)
  return {path: jnp.any(drawn == i) for i, path in enumerate(paths)}
