"""Trees of arrays by name, and the differences between two of them."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

import jax

from kdjax.messages import printable
from kdjax.typing import PyTree

Shape = tuple[int, ...]
_T = TypeVar('_T')

_LINES = 12  # of each kind in a table


@dataclasses.dataclass(frozen=True)
class Differences:
  """Arrays that do not match between a file and what is expected of it.

  True if there are any; as text a table, with at most a dozen lines of a kind.

  Attributes:
    missing: Expected arrays that are not stored.
    unexpected: Stored arrays that are not expected.
    shapes: Arrays of different shapes: the stored one, the expected one.
  """

  missing: dict[str, Shape]
  unexpected: dict[str, Shape]
  shapes: dict[str, tuple[Shape, Shape]]

  def __bool__(self) -> bool:
    return bool(self.missing or self.unexpected or self.shapes)

  def without(self, names: set[str]) -> 'Differences':
    """Returns the differences of all arrays but the named ones."""
    return Differences(
      missing=_without(self.missing, names),
      unexpected=_without(self.unexpected, names),
      shapes=_without(self.shapes, names),
    )

  def __str__(self) -> str:
    kinds = {
      'missing': [f'{printable(n)} {s}' for n, s in self.missing.items()],
      'unexpected': [f'{printable(n)} {s}' for n, s in self.unexpected.items()],
      'shape': [
        f'{printable(name)}: stored {stored}, expected {expected}'
        for name, (stored, expected) in self.shapes.items()
      ],
    }
    return '\n'.join(
      f'  {kind:<11} {line}'
      for kind, lines in kinds.items()
      for line in _shortened(lines)
    )


def compare(
  stored: Mapping[str, Shape], expected: Mapping[str, Shape]
) -> Differences:
  """Compares stored arrays with expected ones.

  Args:
    stored: Shapes by name.
    expected: Shapes by name.

  Returns:
    What is missing, unexpected or of another shape; false if nothing is.
  """
  return Differences(
    missing={n: s for n, s in expected.items() if n not in stored},
    unexpected={n: s for n, s in stored.items() if n not in expected},
    shapes={
      name: (stored[name], shape)
      for name, shape in expected.items()
      if name in stored and stored[name] != shape
    },
  )


def leaves_by_name(tree: PyTree, separator: str = '/') -> dict[str, Any]:
  """Returns the leaves of a tree under their joined paths.

  Args:
    tree: Tree of arrays, shapes or anything else.
    separator: Between the keys of a path.
  """
  leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
  return {
    jax.tree_util.keystr(path, simple=True, separator=separator): leaf
    for path, leaf in leaves
  }


def shapes(arrays: Mapping[str, Any]) -> dict[str, Shape]:
  """Returns the shape of every array.

  Args:
    arrays: Arrays, or `jax.ShapeDtypeStruct`s, by name.
  """
  return {name: tuple(array.shape) for name, array in arrays.items()}


def _without(entries: dict[str, _T], names: set[str]) -> dict[str, _T]:
  return {name: entry for name, entry in entries.items() if name not in names}


def _shortened(lines: list[str]) -> list[str]:
  """Returns the first lines, and the number of the remaining ones."""
  more = len(lines) - _LINES
  return [*lines[:_LINES], f'and {more} more'] if more > 0 else lines
