"""Runs generated inputs in a process of their own, and judges their ends."""

import contextlib
import importlib
import io
import multiprocessing
import os
import pathlib
import shutil
import tempfile
import traceback
from collections.abc import Iterable, Iterator
from typing import Any

from tests.fuzz.case import Case

SECONDS = 60.0  # that a command may take
_FAKE_GHOSTSCRIPT = '#!/bin/sh\ntouch "$(dirname "$0")/canary"\n'


def run_all(cases: Iterable[Case]) -> Iterator[tuple[Case, str]]:
  """Yields each case with what is wrong about its end; empty if nothing."""
  with tempfile.TemporaryDirectory(prefix='kdjax-fuzz-') as name:
    root = _make_root(pathlib.Path(name))
    worker = _Worker(root)
    before = _outside(root)
    for case in cases:
      folder = root / 'work'
      folder.mkdir()
      case.setup(folder)
      fault = worker.run(case)
      after = _outside(root)
      if not fault and after != before:
        fault = f'touched {sorted(set(after.items()) ^ set(before.items()))}'
      before = after
      shutil.rmtree(folder)
      yield case, fault
    worker.close()


def _make_root(root: pathlib.Path) -> pathlib.Path:
  """Makes the folders of home, tools and canaries around that of a case."""
  for name in ('home', 'bin', 'outside'):
    (root / name).mkdir()
  for name in ('gs', 'gswin32c', 'gswin64c'):
    (root / 'bin' / name).write_text(_FAKE_GHOSTSCRIPT)
    (root / 'bin' / name).chmod(0o755)
  (root / 'outside' / 'mine.txt').write_text('mine')
  return root


def _outside(root: pathlib.Path) -> dict[str, tuple[int, int]]:
  """Returns size and time of every file beside the folder of a case."""
  stats = {}
  for path in root.rglob('*'):
    parts = path.relative_to(root).parts
    if parts[0] not in ('work', 'home') and path.is_file():
      stats[str(path)] = (path.stat().st_size, path.stat().st_mtime_ns)
  return stats


class _Worker:
  """A process that runs commands, replaced when one hangs or kills it."""

  def __init__(self, root: pathlib.Path):
    self._root = root
    self._start()

  def _start(self) -> None:
    context = multiprocessing.get_context('spawn')
    self._pipe, other = context.Pipe()
    self._process = context.Process(
      target=_serve, args=(other, self._root), daemon=True
    )
    self._process.start()
    other.close()
    self._pipe.recv()  # it has imported what it needs

  def run(self, case: Case) -> str:
    """Returns what is wrong about the end of a case; empty if nothing."""
    self._pipe.send((case.command, case.argv))
    try:
      if self._pipe.poll(SECONDS):
        return judge(case, *self._pipe.recv())
      fault = f'did not end within {SECONDS:g} s'
    except EOFError:
      fault = 'ended its process'
    self.close()
    self._start()
    return fault

  def close(self) -> None:
    self._process.kill()
    self._process.join()


def judge(case: Case, status: int | None, said: str, error: str) -> str:
  """Returns what is wrong about the end of a command; empty if nothing.

  Args:
    case: The case.
    status: Exit status.
    said: What it printed to standard error.
    error: Traceback of an exception that it raised, if any.
  """
  if error:
    return f'raised {error.strip().splitlines()[-1]}\n{error}'
  if status == 0 and case.harmless:
    return ''
  if status not in (1, 2):
    return f'exit status {status}: {said[-300:]}'
  if 'Traceback' in said:
    return f'printed a traceback: {said[-500:]}'
  _, marker, message = said.rpartition('error: ')
  lines = message.strip().splitlines()
  # Lists of differences follow their line, indented.
  more = [line for line in lines[1:] if not line.startswith('  ')]
  if not marker or not lines:
    return f'printed no error: {said[-300:]}'
  if len(more) > 1 or len(lines[0]) > 1000:
    return f'printed more than a line: {message[:500]}'
  return ''


def _serve(pipe: Any, root: pathlib.Path) -> None:
  """Runs commands until the pipe is closed."""
  os.environ.update(
    HOME=str(root / 'home'),
    KDJAX_CACHE=str(root / 'home' / 'cache'),
    TFDS_DATA_DIR=str(root / 'home' / 'tfds'),
    JAX_PLATFORMS='cpu',
    PATH=f'{root / "bin"}{os.pathsep}{os.environ["PATH"]}',
  )
  for module in ('cifar', 'compare', 'imagenet', 'multilabel', 'transfer'):
    importlib.import_module(f'experiments.{module}')
  pipe.send(None)
  with contextlib.suppress(EOFError):
    while True:
      command, argv = pipe.recv()
      os.chdir(root / 'work')
      pipe.send(_run(command, argv))
      os.chdir(root)


def _run(command: str, argv: tuple[str, ...]) -> tuple[int | None, str, str]:
  """Returns exit status, standard error and traceback of a command."""
  module = importlib.import_module(command)
  main = module.COMMAND.main if hasattr(module, 'COMMAND') else module.main
  said = io.StringIO()
  status, error = None, ''
  with (
    contextlib.redirect_stderr(said),
    contextlib.redirect_stdout(io.StringIO()),
  ):
    try:
      status = main(list(argv))
    except SystemExit as stop:
      status = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
      error = traceback.format_exc()
  return status, said.getvalue(), error
