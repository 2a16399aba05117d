"""Failures that are one line, whatever they are raised as."""

import pytest

from kdjax.cli.exit_status import exit_status


def _raise(error):
  raise error


@pytest.mark.parametrize(
  'error',
  [
    MemoryError('Unable to allocate 9 TiB'),
    RuntimeError('RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes\nat x'),
  ],
)
def test_too_little_memory_is_one_line(capsys, error):
  assert exit_status(lambda: _raise(error), 'w', 'resume') == 1
  (said,) = capsys.readouterr().err.splitlines()
  assert said.startswith('error: there is not enough memory (')


def test_an_error_of_the_program_is_none_of_the_user():
  with pytest.raises(RuntimeError, match='a mistake'):
    exit_status(lambda: _raise(RuntimeError('a mistake')), 'w', 'resume')
