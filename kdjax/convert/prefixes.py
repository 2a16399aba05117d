"""Prefixes of names in files that hold more than one network."""

from collections.abc import Mapping

import numpy as np

from kdjax.convert import matching
from kdjax.messages import printable
from kdjax.typing import PyTree

_DEPTH = 3  # components of a prefix, as in `module.student.backbone`
_MAX_LISTED = 8


def select(
  arrays: Mapping[str, np.ndarray], prefix: str
) -> dict[str, np.ndarray]:
  """Returns the arrays whose names begin with a prefix, without it.

  Args:
    arrays: Arrays by name.
    prefix: Beginning of names, e.g. `module.student`; a dot follows it.

  Raises:
    ValueError: If no name begins with it; lists the prefixes of the names.
  """
  start = prefix.rstrip('.') + '.'
  chosen = {
    name.removeprefix(start): array
    for name, array in arrays.items()
    if name.startswith(start)
  }
  if chosen:
    return chosen
  found = sorted({name.partition('.')[0] for name in arrays if '.' in name})
  raise ValueError(
    f'no name begins with {printable(start)}; they begin with '
    f'{_listed(found) or "no prefix"}'
  )


def fitting(
  arrays: Mapping[str, np.ndarray], template: PyTree, network: str | None
) -> dict[str, int]:
  """Finds the prefixes below which a file has a network's arrays.

  Args:
    arrays: Arrays by name.
    template: Variables of the network, arrays or shapes.
    network: As for `kdjax.convert.load`.

  Returns:
    The number of arrays of the network, of the same names and shapes, by
    prefix: of those below which there are more than without a prefix, and of
    a prefix and its beginnings only the one with most.
  """
  without = _count(arrays, template, network)
  counts = {
    prefix: _count(select(arrays, prefix), template, network)
    for prefix in sorted({p for name in arrays for p in _prefixes(name)})
  }
  return {
    prefix: count
    for prefix, count in counts.items()
    if count > without
    and not any(_is_better(other, prefix, counts) for other in counts)
  }


def advice(
  arrays: Mapping[str, np.ndarray], template: PyTree, network: str | None
) -> str:
  """Returns a sentence on prefixes that select a network; may be empty.

  Args:
    arrays: Arrays by name.
    template: Variables of the network, arrays or shapes.
    network: As for `kdjax.convert.load`.
  """
  found = fitting(arrays, template, network)
  if not found:
    return ''
  listed = _listed(
    [f'{prefix}. ({count} arrays fit)' for prefix, count in found.items()]
  )
  best = max(found, key=lambda prefix: found[prefix])
  return (
    f'Its names begin with {listed}: choose one network with '
    f'prefix={printable(best)}.'
  )


def _count(
  arrays: Mapping[str, np.ndarray], template: PyTree, network: str | None
) -> int:
  """Counts the arrays of the names and shapes of a network's."""
  weights, naming = matching.find_naming(arrays, template, network)
  return sum(
    naming.shapes.get(name) == array.shape for name, array in weights.items()
  )


def _prefixes(name: str) -> list[str]:
  """Returns the first one to three components of a name, without the last."""
  parts = name.split('.')
  return [
    '.'.join(parts[:count])
    for count in range(1, min(_DEPTH, len(parts) - 1) + 1)
  ]


def _is_better(other: str, prefix: str, counts: Mapping[str, int]) -> bool:
  """Returns whether a beginning or continuation of a prefix fits better."""
  if other.startswith(f'{prefix}.'):
    return counts[other] >= counts[prefix]
  return prefix.startswith(f'{other}.') and counts[other] > counts[prefix]


def _listed(names: list[str]) -> str:
  more = len(names) - _MAX_LISTED
  rest = [f'{more} more'] if more > 0 else []
  return ', '.join([*map(printable, names[:_MAX_LISTED]), *rest])
