"""Command-line flags that several benchmarks have."""

import argparse
import pathlib

from benchmarks import timing

PRECISIONS = ('float32', 'bfloat16')


def make_parser(
  description: str | None, *, repeats: int | None
) -> argparse.ArgumentParser:
  """Returns a parser with the flags of all benchmarks.

  Args:
    description: Docstring of the benchmark.
    repeats: Default of `--repeats`; `None` omits the flag.
  """
  parser = argparse.ArgumentParser(
    description=description, formatter_class=argparse.RawTextHelpFormatter
  )
  if repeats is not None:
    parser.add_argument(
      '--repeats', type=int, default=repeats, help='number of measured rounds'
    )
  parser.add_argument(
    '--output',
    type=pathlib.Path,
    default=timing.FOLDER,
    help='folder of the results (default: benchmarks/results)',
  )
  return parser


def names(text: str) -> tuple[str, ...]:
  """Parses `a,b,c`."""
  return tuple(text.split(','))


def numbers(text: str) -> tuple[int, ...]:
  """Parses `1,2,3`."""
  try:
    return tuple(int(number) for number in text.split(','))
  except ValueError:
    raise argparse.ArgumentTypeError(
      f'{text}: expected integers separated by commas'
    ) from None


def pairs(text: str) -> tuple[tuple[str, str], ...]:
  """Parses `teacher:student,teacher:student`."""
  parsed = [pair.split(':') for pair in text.split(',')]
  if any(len(pair) != 2 for pair in parsed):
    raise argparse.ArgumentTypeError(f'{text}: each is teacher:student')
  return tuple((teacher, student) for teacher, student in parsed)


def precisions(text: str) -> tuple[str, ...]:
  """Parses `float32,bfloat16`."""
  parsed = names(text)
  if not set(parsed) <= set(PRECISIONS):
    raise argparse.ArgumentTypeError(
      f'{text}: each is one of {", ".join(PRECISIONS)}'
    )
  return parsed
