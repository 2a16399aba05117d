"""`python -m kdjax.report WORKDIR`: the report of a study, again or early."""

import argparse
import sys

import rich
from etils import epath

from kdjax import report


def main() -> int:
  """Prints the table, writes the report; 1 if there is nothing to report."""
  parser = argparse.ArgumentParser(
    prog='python -m kdjax.report',
    description="Makes table, plots and report.html from a study's logs.",
  )
  parser.add_argument('workdir', type=epath.Path, help='holds runs/')
  workdir = parser.parse_args().workdir
  try:
    page = report.write(workdir)
    rich.print(report.table(workdir))
  except (ValueError, OSError) as error:
    print(f'kdjax.report: {error}', file=sys.stderr)
    return 1
  print(page)
  return 0


if __name__ == '__main__':
  sys.exit(main())
