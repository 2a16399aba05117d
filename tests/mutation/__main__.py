"""`python -m tests.mutation [--only=REGEX] [--part=I/N]`."""

import argparse
import dataclasses
import json
import pathlib
import re
import sys
import tempfile
from typing import Any

from tests.mutation.catalog import ROOT, Mutation
from tests.mutation.mutations import MUTATIONS
from tests.mutation.runner import Outcome, run_all

RESULTS = ROOT / 'benchmarks/results/mutation.json'


def main() -> int:
  """Runs the chosen mutations; 1 if one of them survives."""
  options = _options()
  chosen = [
    m for m in MUTATIONS if re.search(options.only, f'{m.file} {m.name}')
  ]
  index, count = map(int, options.part.split('/'))
  chosen = chosen[index - 1 :: count]
  rows = _stored(options.output)

  def report(mutation: Mutation, outcome: Outcome) -> None:
    said = f'killed, {outcome.killed_by}' if outcome.killed_by else 'SURVIVED'
    print(f'{mutation.name:44}{said:14}{outcome.seconds:6.1f} s', flush=True)
    rows[mutation.name] = _row(mutation, outcome)
    _write(options.output, rows)

  with tempfile.TemporaryDirectory(prefix='kdjax-mutation-') as folder:
    run_all(chosen, pathlib.Path(folder), report)
  print(json.dumps(_summary(rows)))
  return int(any(rows[m.name]['killed_by'] is None for m in chosen))


def _options() -> argparse.Namespace:
  parser = argparse.ArgumentParser(prog='python -m tests.mutation')
  parser.add_argument(
    '--only',
    default='',
    help='only where this regular expression finds the file or the name',
  )
  parser.add_argument(
    '--part', default='1/1', help='only every Nth from the Ith on, as I/N'
  )
  parser.add_argument('--output', type=pathlib.Path, default=RESULTS)
  return parser.parse_args()


def _row(mutation: Mutation, outcome: Outcome) -> dict[str, Any]:
  """What the table says of one mutation."""
  return {
    'name': mutation.name,
    'file': mutation.file,
    'old': mutation.old,
    'new': mutation.new,
    **dataclasses.asdict(outcome),
  }


def _stored(path: pathlib.Path) -> dict[str, dict[str, Any]]:
  """Earlier results by name, of mutations that are as they were then."""
  if not path.exists():
    return {}
  known = {(m.name, m.file, m.old, m.new) for m in MUTATIONS}
  rows = json.loads(path.read_text())['mutations']
  return {
    row['name']: row
    for row in rows
    if (row['name'], row['file'], row['old'], row['new']) in known
  }


def _write(path: pathlib.Path, rows: dict[str, dict[str, Any]]) -> None:
  """Writes the table in the order of the list."""
  ordered = [rows[m.name] for m in MUTATIONS if m.name in rows]
  results = {'summary': _summary(rows), 'mutations': ordered}
  path.write_text(json.dumps(results, indent=1, ensure_ascii=False) + '\n')


def _summary(rows: dict[str, dict[str, Any]]) -> dict[str, int]:
  """Numbers of mutations, of all and by what found them."""
  by = [row['killed_by'] for row in rows.values()]
  return {
    'listed': len(MUTATIONS),
    'run': len(by),
    'killed_by_fast_tests': by.count('fast'),
    'killed_by_slow_tests': by.count('slow'),
    'survived': by.count(None),
  }


if __name__ == '__main__':
  sys.exit(main())
