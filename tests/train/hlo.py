"""Reading compiled programs: which collectives stand in which loops."""

import re

_COLLECTIVE = re.compile(
  r' (all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)'
  r'(-start)?\('
)
_CALLED = re.compile(
  r'(?:body|condition|to_apply|calls|true_computation|false_computation)='
  r'%?([\w.\-]+)'
)
_BRANCHES = re.compile(r'branch_computations=\{([^}]*)\}')
_LOOP = re.compile(r'(?:body|condition)=%?([\w.\-]+)')


def collectives_in_inner_loops(text: str) -> list[str]:
  """Returns the lines of collectives inside loops that are inside loops."""
  computations = _computations(text)
  called = {
    name: set(_CALLED.findall(body))
    | {
      branch.strip(' %')
      for group in _BRANCHES.findall(body)
      for branch in group.split(',')
    }
    for name, body in computations.items()
  }
  loops = {
    loop
    for body in computations.values()
    for line in body.splitlines()
    if ' while(' in line
    for loop in _LOOP.findall(line)
  }
  inside = {loop: _reachable(loop, called) for loop in loops}
  inner = {
    loop for loop in loops for outer in loops - {loop} if loop in inside[outer]
  }
  assert inner, 'the program has no loop inside a loop'
  return [
    line
    for name in set().union(*(inside[loop] for loop in inner))
    for line in computations.get(name, '').splitlines()
    if _COLLECTIVE.search(line)
  ]


def collectives(text: str) -> list[str]:
  """Returns the lines of all collectives."""
  return [line for line in text.splitlines() if _COLLECTIVE.search(line)]


def _computations(text: str) -> dict[str, str]:
  found, name = {}, ''
  for line in text.splitlines():
    head = re.match(r'(?:ENTRY )?%?([\w.\-]+) .*\{$', line)
    if head:
      name = head[1]
      found[name] = []
    elif name:
      found[name].append(line)
  return {name: '\n'.join(lines) for name, lines in found.items()}


def _reachable(name: str, called: dict[str, set[str]]) -> set[str]:
  found, waiting = set(), [name]
  while waiting:
    one = waiting.pop()
    if one not in found:
      found.add(one)
      waiting += called.get(one, ())
  return found
