"""Foreign text in error messages: shortened, on one line, without controls."""

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
