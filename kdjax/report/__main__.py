"""`python -m kdjax.report WORKDIR`: writes the report of a study.

The study may be finished or still running.
"""

import argparse
import io
import sys
from collections.abc import Sequence

import rich

from kdjax import report
from kdjax.paths import any_path


def main(argv: Sequence[str] | None = None) -> int:
  """Prints the table and writes the report.

  Args:
    argv: Arguments (default: those of this process).

  Returns:
    The exit status: 0, or 1 if the folder has no runs or cannot be read.
  """
  parser = argparse.ArgumentParser(
    prog='python -m kdjax.report',
    description="Writes the table, plots and report.html of a study's logs.",
  )
  parser.add_argument(
    'workdir', help='work folder of the study (contains runs/)'
  )
  given = parser.parse_args(argv).workdir
  for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):  # for names that are not UTF-8
      stream.reconfigure(errors='backslashreplace')
  try:
    workdir = any_path(given)
    page = report.write(workdir)
    rich.print(report.table(workdir))
  except (ValueError, OSError, ImportError) as error:
    print(f'error: {error}', file=sys.stderr)
    return 1
  print(page)
  return 0


if __name__ == '__main__':
  sys.exit(main())
