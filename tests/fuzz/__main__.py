"""`python -m tests.fuzz`: a table of generated inputs and how they ended."""

import argparse
import collections
import sys
import time

from tests.fuzz.generators import generate
from tests.fuzz.runner import run_all


def main() -> int:
  """Prints the table; returns 1 if an input ended as none may."""
  parser = argparse.ArgumentParser(prog='python -m tests.fuzz')
  parser.add_argument('--count', type=int, default=600)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--only', default='', help='name of a generator')
  options = parser.parse_args()
  chosen = [
    (name, case)
    for name, case in generate(options.seed, options.count)
    if options.only in name
  ]
  counts, faults = collections.Counter(), collections.Counter()
  began = time.monotonic()
  ends = run_all(case for _, case in chosen)
  for (name, _), (case, fault) in zip(chosen, ends):
    counts[name] += 1
    if fault:
      faults[name] += 1
      print(f'{name}, {case.name!r}, {case.command} {case.argv!r:.300}')
      print(f'  {fault}')
  print(f'{"generator":<12} inputs  faults')
  for name, count in counts.items():
    print(f'{name:<12} {count:>6}  {faults[name]:>6}')
  print(f'{sum(counts.values())} inputs in {time.monotonic() - began:.0f} s')
  return 1 if faults else 0


if __name__ == '__main__':
  sys.exit(main())
