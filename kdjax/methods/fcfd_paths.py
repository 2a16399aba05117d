"""FCFD's paths: first one network, then a bridge, then the other."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

Directions = Literal['bi', 's2t', 't2s', 'nomix']


class Path(NamedTuple):
  """A pass that changes networks once.

  Attributes:
    split: The last stage of the first network.
    to_teacher: Whether the student comes first.
    stages: How many there are.
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
  """All paths of a pair with so many stages, the stem counted.

  Neither the stem nor the last stage is a place to change at: of the first
  nothing is left to translate, and after the last no later stage reads it.
  """
  wanted = {'bi': (False, True), 's2t': (True,), 't2s': (False,), 'nomix': ()}
  return tuple(
    Path(split, to_teacher, stages)
    for to_teacher in wanted[directions]
    for split in range(1, stages - 1)
  )


def named(names: Sequence[str], known: Sequence[Path]) -> tuple[Path, ...]:
  """The paths of these names.

  Raises:
    ValueError: If one of them is no path of this pair.
  """
  by_name = {path.name: path for path in known}
  for name in names:
    if name not in by_name:
      raise ValueError(
        f'There is no path {name!r} between these networks; one digit per '
        f'stage, 0 is the teacher: {", ".join(by_name) or "none"}.'
      )
  return tuple(by_name[name] for name in names)


def draw(
  key: jax.Array, paths: Sequence[Path], count: int
) -> dict[Path, jax.Array | bool]:
  """Which paths a step takes: `count` different ones, all equally likely."""
  if count == len(paths):
    return dict.fromkeys(paths, True)
  drawn = jax.random.choice(key, len(paths), (count,), replace=False)
  return {path: jnp.any(drawn == place) for place, path in enumerate(paths)}
