"""Processes of one run: their connection, and the loss of one of them."""

import ctypes
import os
import re
import signal
from collections.abc import Mapping

import jax

from kdjax.messages import first_line

# Seconds without a heartbeat after which a process counts as lost. With JAX's
# own 100 s, the others would hold their machines for longer.
_HEARTBEAT_TIMEOUT = 30

_LOST = (
  'another process of this run has ended or cannot be reached. Saved '
  'checkpoints are kept: start all processes again, with --resume.'
)
# Start of the messages of errors in XLA's collectives and in the coordination
# service; their classes vary, `ValueError` among them.
_STATUS = re.compile(
  '(ABORTED|CANCELLED|DEADLINE_EXCEEDED|FAILED_PRECONDITION|INTERNAL'
  '|UNAVAILABLE|UNKNOWN): '
)
_Handler = ctypes.CFUNCTYPE(None, ctypes.c_int)


def in_cluster(environment: Mapping[str, str] = os.environ) -> bool:
  """Returns whether Slurm, Open MPI or a TPU pod started several processes.

  Args:
    environment: Environment variables. Read are `SLURM_STEP_NUM_TASKS`,
      `OMPI_COMM_WORLD_SIZE` and `TPU_WORKER_HOSTNAMES`, which virtual machines
      of a pod slice may lack.
  """
  for name in ('SLURM_STEP_NUM_TASKS', 'OMPI_COMM_WORLD_SIZE'):
    if environment.get(name, '').isdigit() and int(environment[name]) > 1:
      return True
  return ',' in environment.get('TPU_WORKER_HOSTNAMES', '')


def start_processes(
  coordinator: str | None = None,
  num_processes: int | None = None,
  process_id: int | None = None,
) -> None:
  """Connects the processes of one run; each calls this before anything else.

  On a TPU pod, under Slurm and under Open MPI, JAX detects all arguments.
  Afterwards the loss of one process ends the others with a message.

  Args:
    coordinator: `HOST:PORT` of process 0, reachable from all processes
      (`None`: detected by JAX).
    num_processes: Number of processes (`None`: detected by JAX).
    process_id: Index of this process, from 0 (`None`: detected by JAX).

  Raises:
    ValueError: If the processes do not connect; the message says why.
  """
  _replace_abort_message()
  try:
    jax.distributed.initialize(
      coordinator,
      num_processes,
      process_id,
      heartbeat_timeout_seconds=_HEARTBEAT_TIMEOUT,
    )
  except (ValueError, RuntimeError) as error:
    raise ValueError(
      f'The processes of this run did not find each other: {error} Give '
      'coordinator, num_processes and process_id.'
    ) from error


def lost_process(error: BaseException) -> str | None:
  """Describes an error that the loss of another process causes.

  Args:
    error: Any error of a run.

  Returns:
    A message; `None` for errors of another cause.
  """
  if jax.process_count() == 1 or not _STATUS.match(str(error)):
    return None
  return f'{_LOST} (JAX: {first_line(error)})'


@_Handler
def _on_abort(number: int) -> None:
  del number
  # Only system calls: other threads may hold Python's locks.
  os.write(2, f'error: {_LOST}\n'.encode())
  os._exit(1)


def _replace_abort_message() -> None:
  """Makes JAX's aborts print one line instead of a stack trace.

  Where a collective waits forever, JAX detects the missing heartbeats and
  aborts from a thread of its own, where a Python signal handler would not run.
  """
  library = ctypes.CDLL(None)
  library.signal.argtypes = (ctypes.c_int, _Handler)
  library.signal.restype = ctypes.c_void_p
  library.signal(signal.SIGABRT, _on_abort)
