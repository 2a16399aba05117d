"""Foreign text in error messages: shortened, on one line, without controls."""

import itertools
from collections.abc import Collection

_LONGEST_NAME = 100  # characters
_LONGEST_LINE = 200


def printable(name: str) -> str:
  """Returns a name from a file in a form that is safe to print.

  Args:
    name: Any text.

  Returns:
    At most about 100 characters; escaped if some are not printable.
  """
  short = name if len(name) <= _LONGEST_NAME else f'{name[:_LONGEST_NAME]}…'
  # Control characters could rewrite the terminal.
  return short if short.isprintable() else ascii(short)


def first_line(
  error: BaseException, longest: int | None = _LONGEST_LINE
) -> str:
  """Returns the first line of an error's message.

  Args:
    error: Any error.
    longest: Number of characters to keep (`None`: all).

  Returns:
    The line; the name of the error's class if the message is empty.
  """
  lines = str(error).splitlines() or [type(error).__name__]
  return lines[0][:longest]


def first_few(names: Collection[object], count: int = 3) -> str:
  """Returns the first few of many names, and how many others there are.

  Args:
    names: The names, in the order to show them.
    count: How many to show.

  Examples:
    >>> first_few(['ant', 'bee', 'cat', 'dog'], 2)
    'ant, bee and 2 more'
  """
  shown = [printable(str(name)) for name in itertools.islice(names, count)]
  more = len(names) - len(shown)
  return ', '.join(shown) + (f' and {more:,} more' if more else '')
