"""Collectives of a compiled program, by whether they are inside a loop."""

import math
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

_COMPUTATION = re.compile(r'(ENTRY )?%?([\w.\-]+) .*\{$')
_CALLED = re.compile(
  r'(body|condition|calls|to_apply|true_computation|false_computation)='
  r'%?([\w.\-]+)'
)
_BRANCHES = re.compile(r'branch_computations=\{([^}]*)\}')
_COLLECTIVE = re.compile(
  r'= (.*?) (all-reduce|all-gather|reduce-scatter|all-to-all'
  r'|collective-permute)(?:-start)?\('
)
_ARRAY = re.compile(r'(pred|[a-z]+(\d+))\[([\d,]*)\]')


class Collective(NamedTuple):
  """A communication between devices.

  Attributes:
    kind: Name of the operation, e.g. `all-reduce`.
    bytes: Bytes of the result.
    in_loop: Whether it is inside a while loop, and so runs in each iteration.
  """

  kind: str
  bytes: int
  in_loop: bool


def collectives(hlo: str, *, outer_loops: int = 0) -> list[Collective]:
  """Returns the collectives of a program, each once.

  Args:
    hlo: Text of the optimized HLO module.
    outer_loops: Number of loops that are not counted, from the outermost: 1 for
      a program that loops over steps.
  """
  return [
    Collective(match[2], _total_bytes(match[1]), depth > outer_loops)
    for line, depth in _lines(hlo)
    if (match := _COLLECTIVE.search(line))
  ]


def loop_depth(hlo: str) -> int:
  """Returns how many while loops of a program are nested at most."""
  return max(depth for _, depth in _lines(hlo))


def _lines(hlo: str) -> Iterator[tuple[str, int]]:
  """Yields each executed line and the number of loops around it."""
  computations, entry = _computations(hlo.splitlines())
  return _lines_of(entry, computations, 0)


def _computations(lines: Iterable[str]) -> tuple[dict[str, list[str]], str]:
  """Returns the lines of each computation, and the name of the entry."""
  computations: dict[str, list[str]] = {}
  entry = name = ''
  for line in lines:
    if match := _COMPUTATION.match(line):
      name = match[2]
      entry = name if match[1] else entry
      computations[name] = []
    elif name:
      computations[name].append(line)
  if not entry:
    raise ValueError('The text is no HLO module: it has no ENTRY computation.')
  return computations, entry


def _lines_of(
  name: str, computations: dict[str, list[str]], depth: int
) -> Iterator[tuple[str, int]]:
  """Yields the lines of a computation and of those that it calls."""
  for line in computations[name]:
    yield line, depth
    if _COLLECTIVE.search(line):
      continue  # it calls its reduction only
    called = [name for _, name in _CALLED.findall(line)]
    for branches in _BRANCHES.findall(line):
      called += [branch.strip(' %') for branch in branches.split(',')]
    for inner in called:
      yield from _lines_of(inner, computations, depth + (' while(' in line))


def _total_bytes(shapes: str) -> int:
  return sum(_bytes(*array) for array in _ARRAY.findall(shapes))


def _bytes(kind: str, bits: str, sizes: str) -> int:
  width = 1 if kind == 'pred' else int(bits) // 8
  return width * math.prod(int(size) for size in sizes.split(',') if size)
