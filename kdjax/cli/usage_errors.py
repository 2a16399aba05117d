"""Mistakes in a command line, as one line each."""

import collections
import dataclasses
import difflib
import itertools
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any

_FLAG = re.compile(r'^\W*(?:-\w, )?--([\w.]+)', re.MULTILINE)
_RULE = re.compile('[╰─-]{3}')  # between sections of a box, and its end
_COLOR = re.compile('\x1b\\[[0-9;]*m')
_ENOUGH = 0.6  # similarity of a flag that is suggested


class UsageError(ValueError):
  """A command line that cannot be parsed."""


def flags_in_help(text: str) -> list[str]:
  """Returns the names of the flags that a help text lists, with underscores."""
  names = (name.replace('-', '_') for name in _FLAG.findall(_plain(text)))
  return list(dict.fromkeys(names))


def describe(command: str, argv: Sequence[str], help_: str, box: str) -> str:
  """Returns one line about a command line that cannot be parsed.

  Args:
    command: Module of the command.
    argv: Its arguments.
    help_: Text of its `--help`; empty if that cannot be printed.
    box: What the parser printed about the mistake.
  """
  flags = flags_in_help(help_)
  unknown = [flag for flag in _given(argv) if flags and flag not in flags]
  if unknown:
    mistakes = '; '.join(_unknown(flag, flags) for flag in unknown)
    return f'{mistakes}. python -m {command} --help lists the flags.'
  return f'{_message(box, _given(argv))} See python -m {command} --help.'


def check_lists(argv: Sequence[str], config: Any) -> None:
  """Checks that no flag of several values is given more than once.

  The parser would keep the last one only.

  Args:
    argv: Arguments of the command.
    config: Dataclass of the parsed settings, nested.

  Raises:
    UsageError: If one is.
  """
  lists = set(_lists(config))
  for flag, count in collections.Counter(_names(argv)).items():
    if count > 1 and flag.rpartition('.')[2] in lists:
      raise UsageError(
        f'--{flag} is given {count} times; give it once with all values: '
        f'--{flag} VALUE VALUE.'
      )


def _lists(config: Any) -> Iterator[str]:
  """Yields the names of the settings that have several values."""
  if not dataclasses.is_dataclass(config) or isinstance(config, type):
    return
  for field in dataclasses.fields(config):
    value = getattr(config, field.name)
    if isinstance(value, tuple):
      yield field.name
    yield from _lists(value)


def nearest(flag: str, flags: Collection[str]) -> list[str]:
  """Returns the flags that a misspelled one may mean, the nearest first.

  Args:
    flag: Its name, without leading hyphens.
    flags: All names.
  """
  last = flag.rpartition('.')[2]
  same = [known for known in flags if known.rpartition('.')[2] == last]
  short = [known for known in flags if _initials(known) == flag]
  long = len(flag) > 2
  begins = [known for known in flags if long and known.startswith(flag)]
  similar = difflib.get_close_matches(flag, flags, n=3, cutoff=_ENOUGH)
  return list(dict.fromkeys([*same, *short, *begins, *similar]))[:3]


def _given(argv: Sequence[str]) -> list[str]:
  """Returns the names of the flags of a command line, with underscores."""
  return [name for name in dict.fromkeys(_names(argv)) if name != 'help']


def _names(argv: Sequence[str]) -> list[str]:
  """Returns the name of each flag of a command line, in order."""
  return [
    argument[2:].partition('=')[0].replace('-', '_')
    for argument in argv
    if argument.startswith('--') and argument != '--'
  ]


def _unknown(flag: str, flags: Collection[str]) -> str:
  similar = ' or '.join(f'--{known}' for known in nearest(flag, flags))
  if not similar:
    return f'there is no flag --{flag}'
  return f'there is no flag --{flag}; did you mean {similar}?'


def _plain(text: str) -> str:
  """Returns a text without the colors of a terminal."""
  return _COLOR.sub('', text)


def _initials(flag: str) -> str:
  return ''.join(part[0] for part in flag.split('_') if part)


def _message(box: str, given: Sequence[str]) -> str:
  """Returns the first section of a box of text, on one line.

  It begins with the name of the flag, if that is one of the given ones.
  """
  rows = [row.strip(' │') for row in _plain(box).strip().splitlines()]
  # Below the title is a rule where the output is not UTF-8.
  rows = itertools.dropwhile(_RULE.match, rows[1:])
  section = itertools.takewhile(lambda row: not _RULE.match(row), rows)
  text = ' '.join(' '.join(section).split())
  about = re.match(r'Error parsing (?:--)?(\S+?)(?:/\S+)?: ', text)
  if about is not None:
    known = about[1].replace('-', '_') in given
    text = f'{f"--{about[1]}: " * known}{text[about.end() :]}'
  return text if text.endswith('.') else f'{text}.'
