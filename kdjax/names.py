"""Error messages about unknown names."""

import difflib
from collections.abc import Iterable


def unknown(what: str, name: str, known: Iterable[str]) -> str:
  """Returns a message about an unknown name that suggests similar names.

  Args:
    what: Kind of the named thing, such as 'method'.
    name: The unknown name.
    known: All names of that kind.
  """
  known = list(known)
  lower = {k.lower(): k for k in known}
  similar = difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.5)
  if similar:
    return (
      f'Unknown {what} {name!r}; did you mean '
      f'{" or ".join(repr(lower[s]) for s in similar)}? Known: '
      f'{", ".join(sorted(known))}.'
    )
  return f'Unknown {what} {name!r}. Known: {", ".join(sorted(known))}.'
