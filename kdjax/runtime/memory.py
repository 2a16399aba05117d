"""Memory of this machine, to refuse what cannot fit before it is asked for."""

import os
import pathlib

_CGROUP_LIMIT = pathlib.Path('/sys/fs/cgroup/memory.max')


def host_memory() -> int | None:
  """Returns the bytes of memory this process may use; None if unknown."""
  try:
    total = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
  except (AttributeError, OSError, ValueError):  # not on Windows
    return None
  try:
    return min(total, int(_CGROUP_LIMIT.read_text()))
  except (OSError, ValueError):  # no such file, or the text 'max'
    return total


def check_fits(needed: int, what: str, advice: str = '') -> None:
  """Checks that something fits into the memory of this machine.

  Args:
    needed: Its size in bytes.
    what: The subject of the message.
    advice: What to do otherwise, appended to the message.

  Raises:
    ValueError: If it does not fit.
  """
  total = host_memory()
  if total is not None and needed > total:
    raise ValueError(
      f'{what} would take {needed / 1e9:,.1f} GB of memory, and this machine '
      f'has {total / 1e9:,.1f} GB{advice}'
    )
