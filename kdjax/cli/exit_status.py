"""Exit status of a command, and one readable line on failure."""

import logging
import os
import sys
from collections.abc import Callable
from typing import Any

import jax
from etils import epath

from kdjax.runtime.processes import lost_process
from kdjax.runtime.signals import Interrupted
from kdjax.train import DivergedError


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
      print(f'Stopped and saved. To resume:\n  {resume}', file=sys.stderr)
    return 128 + stop.signal_number
  except KeyboardInterrupt:  # a second one, or before the first run
    return fail('stopped at once; what was saved before is kept.', 130)
  except (ValueError, RuntimeError) as error:
    if lost := lost_process(error):
      return _end_process(fail(lost, 1))
    if isinstance(error, RuntimeError):
      raise
    return _end_process(fail(error, 2))
  except OSError as error:
    where = '' if error.filename else f' in {workdir}'
    saved = 'What was saved before is kept.'
    return _end_process(fail(f'{error}{where}. {saved}', 1))
  return 0


def fail(message: object, status: int) -> int:
  """Prints an error message and returns the exit status."""
  print(f'error: {message}', file=sys.stderr)
  return status


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
