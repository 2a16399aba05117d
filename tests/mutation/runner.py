"""Applies one mutation at a time to a copy and runs the tests named with it."""

import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from tests.mutation.catalog import ROOT, Mutation

_COPIED = ('kdjax', 'tests', 'experiments', 'benchmarks', 'pyproject.toml')
# The fast tests first: whether one of them finds the fault is the question.
_SPEEDS = {'fast': 'not slow and not long', 'slow': 'slow or long'}
_PASSED, _FAILED, _NONE_SELECTED = 0, 1, 5  # of pytest
_SECONDS = 900


@dataclasses.dataclass(frozen=True)
class Outcome:
  """What became of one mutation.

  Attributes:
    killed_by: `fast` or `slow`, the tests that found it (`None`: it survived).
    test: The first test that failed; empty if it survived.
    seconds: Time of the tests.
  """

  killed_by: str | None
  test: str
  seconds: float


class Copy:
  """A copy of the package in a folder of its own.

  Args:
    folder: An empty folder.
  """

  def __init__(self, folder: pathlib.Path):
    self.folder = folder
    ignored = shutil.ignore_patterns('__pycache__', '*.pyc')
    for name in _COPIED:
      source = ROOT / name
      if source.is_dir():
        shutil.copytree(source, folder / name, ignore=ignored)
      else:
        shutil.copy(source, folder / name)

  def check(self, tests: Iterable[str]) -> None:
    """Checks that tests pass without a mutation.

    Args:
      tests: Node ids.

    Raises:
      ValueError: If one of them fails or does not exist.
    """
    status, output = self._pytest(sorted(set(tests)), [])
    if status != _PASSED:
      raise ValueError(f'Without a mutation the tests fail:\n{output[-3000:]}')

  def run(self, mutation: Mutation) -> Outcome:
    """Runs the tests of a mutation with its fault in place.

    Args:
      mutation: The mutation.

    Returns:
      Whether tests found it, and which.

    Raises:
      ValueError: If its old text is not there once, or pytest cannot run the
        tests at all.
    """
    path = self.folder / mutation.file
    text = path.read_text()
    began = time.monotonic()
    try:
      _write(path, mutation.apply(text))
      killed_by, test = self._find(mutation)
    finally:
      _write(path, text)
    return Outcome(killed_by, test, round(time.monotonic() - began, 1))

  def _find(self, mutation: Mutation) -> tuple[str | None, str]:
    """The speed of the tests that fail, and the first of them."""
    for speed, marks in _SPEEDS.items():
      status, output = self._pytest(mutation.tests, ['-m', marks])
      if status == _FAILED:
        failed = re.search(r'^(?:FAILED|ERROR) (\S+)', output, re.MULTILINE)
        return speed, failed[1] if failed else ''
      if status not in (_PASSED, _NONE_SELECTED):
        raise ValueError(
          f'mutation {mutation.name}: pytest ends with {status}:\n'
          f'{output[-3000:]}'
        )
    return None, ''

  def _pytest(
    self, tests: Iterable[str], options: list[str]
  ) -> tuple[int, str]:
    """Exit status and output of a run that stops at the first failure."""
    command = [sys.executable, '-m', 'pytest', '-q', '-x', '--tb=no']
    try:
      done = subprocess.run(
        [*command, '-p', 'no:cacheprovider', *options, *tests],
        cwd=self.folder,
        env={**os.environ, 'PYTHONPATH': str(self.folder)},
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
      )
    except subprocess.TimeoutExpired:
      return _FAILED, f'FAILED no-end-in-{_SECONDS}-s'
    return done.returncode, done.stdout + done.stderr


def run_all(
  mutations: list[Mutation],
  folder: pathlib.Path,
  report: Callable[[Mutation, Outcome], Any],
) -> None:
  """Runs mutations one after the other.

  Args:
    mutations: The mutations.
    folder: An empty folder for the copy.
    report: Called after each.

  Raises:
    ValueError: If a test fails without a mutation, or a mutation no longer fits
      its file.
  """
  for mutation in mutations:  # before minutes of tests
    mutation.apply((ROOT / mutation.file).read_text())
  copy = Copy(folder)
  copy.check(test for mutation in mutations for test in mutation.tests)
  for mutation in mutations:
    report(mutation, copy.run(mutation))


def _write(path: pathlib.Path, text: str) -> None:
  """Writes a source file and removes what was compiled from it.

  Python tells by the second and the size of a file whether it has changed, and
  two mutations may have both in common.
  """
  path.write_text(text)
  for compiled in path.parent.glob(f'__pycache__/{path.stem}.*.pyc'):
    compiled.unlink()
