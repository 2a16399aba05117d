"""Folder of a report: which one is the library's own."""

import json
from collections.abc import Iterable

from etils import epath

from kdjax.runtime.files import is_regular_file

NAME = 'report'  # in a work folder
SUMMARY = 'summary.json'
TEXTS = ('table.md', 'table.txt', SUMMARY, 'report.html')
# Keys of the summary, by which an earlier report is recognized.
SUMMARY_KEYS = frozenset({'command', 'arms', 'plots', 'notes'})


def check_report_folder(
  workdir: epath.PathLike, names: Iterable[str] = TEXTS
) -> None:
  """Checks that a report may be written into a work folder.

  Files of other names that a user keeps in `report` stay.

  Args:
    workdir: The work folder.
    names: Names of the files to be written.

  Raises:
    ValueError: If `report` is no folder, or has files of these names that no
      report of this library consists of.
  """
  folder = epath.Path(workdir) / NAME
  if folder.exists() and not folder.is_dir():
    raise ValueError(
      f'{folder} is a file; the report needs a folder there. Move it away.'
    )
  taken = [name for name in names if (folder / name).exists()]
  if taken and not _is_own(folder):
    raise ValueError(
      f'{folder} holds {", ".join(taken)} of something else, which a report '
      'would overwrite. Move that folder away.'
    )


def _is_own(folder: epath.Path) -> bool:
  """Returns whether a folder holds a report of this library."""
  path = folder / SUMMARY
  try:
    summary = json.loads(path.read_bytes()) if is_regular_file(path) else None
  except (OSError, ValueError, RecursionError):
    return False
  return isinstance(summary, dict) and summary.keys() >= SUMMARY_KEYS
