"""What to say when a name is not known."""

import difflib
from collections.abc import Iterable


def unknown(what: str, name: str, known: Iterable[str]) -> str:
  """A message that names what came and suggests the nearest names.

  Args:
    what: The kind of thing, as in 'method'.
    name: What came.
    known: All the names there are.
  """
  known = list(known)
  lower = {k.lower(): k for k in known}
  near = difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.5)
  if near:
    return (
      f'Unknown {what} {name!r}; did you mean '
      f'{" or ".join(repr(lower[n]) for n in near)}? Known: '
      f'{", ".join(sorted(known))}.'
    )
  return f'Unknown {what} {name!r}. Known: {", ".join(sorted(known))}.'
