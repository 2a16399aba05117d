"""Exit status of a command, and one readable line on failure."""

import contextlib
import io
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

import jax
from etils import epath

from kdjax.messages import first_line
from kdjax.runtime.processes import lost_process
from kdjax.runtime.signals import Interrupted
from kdjax.train import DivergedError

_NO_MEMORY = 'RESOURCE_EXHAUSTED'  # in the messages of XLA


def exit_status(
  work: Callable[[], Any], workdir: epath.PathLike | None, resume: str
) -> int:
  """Runs the work of a command and returns its exit status.

  Args:
    work: The work.
    workdir: Work folder, for messages.
    resume: Command that resumes it, for messages.

  Returns:
    0, 2 for a mistake in the flags or the folders, 1 for a run that failed, or
    128 + the number of the signal that stopped it.
  """
  try:
    work()
  except DivergedError as error:  # in all processes at once
    return fail(error, 1)
  except Interrupted as stop:
    if jax.process_index() == 0:
      _say(f'Stopped and saved. To resume:\n  {resume}')
    return 128 + stop.signal_number
  except KeyboardInterrupt:  # a second one, or before the first run
    return fail('stopped at once; what was saved before is kept.', 130)
  except (ValueError, RuntimeError) as error:
    if lost := lost_process(error):
      return _end_process(fail(lost, 1))
    if isinstance(error, RuntimeError):
      if _NO_MEMORY not in str(error):
        raise
      return _end_process(_fail_for_memory(error))
    return _end_process(fail(error, 2))
  except MemoryError as error:
    return _end_process(_fail_for_memory(error))
  except OSError as error:
    where = '' if error.filename else f' in {workdir}'
    saved = 'What was saved before is kept.'
    return _end_process(fail(f'{error}{where}. {saved}', 1))
  return 0


def _fail_for_memory(error: BaseException) -> int:
  return fail(
    f'there is not enough memory ({first_line(error)}). Smaller images, '
    'batches or networks need less. What was saved before is kept.',
    1,
  )


def fail(message: object, status: int) -> int:
  """Prints an error message and returns the exit status."""
  _say(f'error: {message}')
  return status


def escape_unprintable_names() -> None:
  """Prints names that are not UTF-8 with escapes instead of failing."""
  for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):
      stream.reconfigure(errors='backslashreplace')


def _say(text: str) -> None:
  """Prints to standard error, unless its terminal has closed."""
  with contextlib.suppress(OSError):
    print(text, file=sys.stderr, flush=True)


def hide_checkpoint_tracebacks() -> None:
  """Shows a single error message of a checkpoint that cannot be written.

  Orbax also logs the errors that it raises, with tracebacks, and the writes
  that tensorstore still had pending fail where nothing can catch them.
  """
  logging.getLogger('absl').addFilter(
    lambda record: f'{os.sep}orbax{os.sep}' not in record.pathname
  )
  report = sys.unraisablehook

  def hook(unraisable):
    if str(unraisable.exc_value) != 'Event loop is closed':
      report(unraisable)

  sys.unraisablehook = hook


def _end_process(status: int) -> int:
  """Ends one of several processes immediately, as the others would wait."""
  if jax.process_count() > 1:
    sys.stderr.flush()
    os._exit(status)
  return status
