"""Checks of names, error messages about unknown ones, kinds of datasets."""

import difflib
import os
import re
from collections.abc import Iterable

_RUN_NAME = re.compile(r'[\w.+=-]+')
_LONGEST = 100  # characters of an unknown name that are shown
_RUN_NAME_BYTES = 200  # file systems allow 255, and temporary names are longer


def check_run_name(what: str, name: str) -> None:
  """Checks a name that a folder of runs will have.

  Args:
    what: What has the name, for the message.
    name: The name.

  Raises:
    ValueError: If it is not of letters, digits and `_-.+=`, or too long.
  """
  good = _RUN_NAME.fullmatch(name) and name not in ('.', '..')
  if not good or len(os.fsencode(name)) > _RUN_NAME_BYTES:
    shown = name if len(name) < 80 else f'{name[:80]}…'
    raise ValueError(
      f'{what} names a folder of runs: at most {_RUN_NAME_BYTES} bytes of '
      f'letters, digits and _-.+= are possible, got {shown!r}.'
    )


def unknown(what: str, name: str, known: Iterable[str]) -> str:
  """Returns a message about an unknown name that suggests similar names.

  Args:
    what: Kind of the named thing, such as 'method'.
    name: The unknown name.
    known: All names of that kind.
  """
  known = list(known)
  if len(name) > _LONGEST:
    name = f'{name[:_LONGEST]}…'
  lower = {k.lower(): k for k in known}
  similar = difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.5)
  if similar:
    return (
      f'Unknown {what} {name!r}; did you mean '
      f'{" or ".join(repr(lower[s]) for s in similar)}? Known: '
      f'{", ".join(sorted(known))}.'
    )
  return f'Unknown {what} {name!r}. Known: {", ".join(sorted(known))}.'


def dataset_kind(name: str) -> str:
  """Returns the name of a dataset without the path of a user's files.

  Args:
    name: A known name, which is returned, or `KIND:PATH`.
  """
  return name.partition(':')[0]
