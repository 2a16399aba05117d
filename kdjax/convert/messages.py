"""A file's own words in messages."""

_LONGEST = 100  # characters


def shown(text: str) -> str:
  """A name from a file, fit for one line of a message."""
  short = text if len(text) <= _LONGEST else f'{text[:_LONGEST]}…'
  # Control characters could rewrite what the terminal shows.
  return short if short.isprintable() else ascii(short)
