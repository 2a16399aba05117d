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


def collectives(hlo: str) -> list[Collective]:
  """Returns the collectives of a program, each once.

  Args:
    hlo: Text of the optimized HLO module.
  """
  computations, entry = _computations(hlo.splitlines())
  return list(_collectives_of(entry, computations, in_loop=False))


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


def _collectives_of(
  name: str, computations: dict[str, list[str]], *, in_loop: bool
) -> Iterator[Collective]:
  """Yields the collectives of a computation and of those that it calls."""
  for line in computations[name]:
    if match := _COLLECTIVE.search(line):
      size = sum(_bytes(*array) for array in _ARRAY.findall(match[1]))
      yield Collective(match[2], size, in_loop)
      continue
    loop = ' while(' in line
    called = [name for _, name in _CALLED.findall(line)]
    for branches in _BRANCHES.findall(line):
      called += [branch.strip(' %') for branch in branches.split(',')]
    for inner in called:
      yield from _collectives_of(inner, computations, in_loop=in_loop or loop)


def _bytes(kind: str, bits: str, sizes: str) -> int:
  width = 1 if kind == 'pred' else int(bits) // 8
  return width * math.prod(int(size) for size in sizes.split(',') if size)
