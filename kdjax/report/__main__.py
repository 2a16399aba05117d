"""`python -m kdjax.report WORKDIR`: writes the report of a study.

The study may be finished or still running.
"""

import argparse
import sys

import rich
from etils import epath

from kdjax import report


def main() -> int:
  """Prints the table and writes the report.

  Returns:
    The exit status: 0, or 1 if the folder has no runs or cannot be read.
  """
  parser = argparse.ArgumentParser(
    prog='python -m kdjax.report',
    description="Writes the table, plots and report.html of a study's logs.",
  )
  parser.add_argument(
    'workdir', type=epath.Path, help='work folder of the study (contains runs/)'
  )
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
