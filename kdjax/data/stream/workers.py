"""Worker processes of grain: they end with their parent, and quietly."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

# Start of grain's message where a worker process was killed.
_KILLED = 'Worker process was terminated unexpectedly'


def start_worker(index: int, count: int) -> None:
  """Prepares a worker process; called in it before it reads anything.

  Signals of the terminal are for the parent, which saves and then ends its
  workers.

  Args:
    index: Number of the worker.
    count: Number of workers.
  """
  del index, count
  for name in ('SIGINT', 'SIGHUP'):  # Windows has no SIGHUP
    if hasattr(signal, name):
      signal.signal(getattr(signal, name), signal.SIG_IGN)
  threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
  """Ends this process when its parent has ended, however that ended.

  Linux's PR_SET_PDEATHSIG would not do: it follows the thread that started the
  worker, which ends long before the process.
  """
  parent = multiprocessing.parent_process()
  if parent is not None:
    parent.join()
    os._exit(1)


def checked(groups: Iterator[Any]) -> Iterator[Any]:
  """Yields the items of an iterator of grain.

  Args:
    groups: The iterator.

  Raises:
    ChildProcessError: If a worker process was killed.
  """
  try:
    yield from groups
  except RuntimeError as error:
    if not str(error).startswith(_KILLED):
      raise
    raise ChildProcessError(
      'A process that decodes images was ended from outside, perhaps for lack '
      'of memory (fewer --workers need less). Start the command again with '
      '--resume'
    ) from error
