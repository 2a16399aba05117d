"""Processes of one run: their connection, and the loss of one of them."""

import ctypes
import os
import re
import signal
from collections.abc import Mapping

import jax

from kdjax.messages import first_line
from kdjax.runtime import coordinator as coordinators

# Seconds without a heartbeat after which a process counts as lost. With JAX's
# own 100 s, the others would hold their machines for longer.
_HEARTBEAT_TIMEOUT = 30

_MOST_PROCESSES = 2**16

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
  *,
  seconds: int = 45,
  say: coordinators.Say = print,
) -> None:
  """Connects the processes of one run; each calls this before anything else.

  On a TPU pod, under Slurm and under Open MPI, JAX detects all arguments.
  Afterwards the loss of one process ends the others with a message.

  Args:
    coordinator: `HOST:PORT` of process 0, reachable from all processes
      (`None`: detected by JAX).
    num_processes: Number of processes (`None`: detected by JAX).
    process_id: Index of this process, from 0 (`None`: detected by JAX).
    seconds: Longest time to wait for the coordinator, and then for all
      processes.
    say: Called with a message every few seconds while it waits.

  Raises:
    ValueError: If the processes do not connect; the message says why.
  """
  _check_numbers(num_processes, process_id)
  whom = 'the other processes'
  if coordinator is not None:
    coordinators.parse_address(coordinator)
    whom = f'all processes at the coordinator {coordinator}'
    if process_id:
      coordinators.wait_for(coordinator, seconds, say)
  missing = f'{whom[0].upper()}{whom[1:]} did not connect within {seconds} s.'
  _say_when_aborted(missing)
  try:
    with coordinators.saying(whom, seconds, say):
      jax.distributed.initialize(
        coordinator,
        num_processes,
        process_id,
        initialization_timeout=seconds,
        heartbeat_timeout_seconds=_HEARTBEAT_TIMEOUT,
      )
  except (ValueError, RuntimeError) as error:
    raise ValueError(
      f'The processes of this run did not find each other: '
      f'{first_line(error)} Give coordinator, num_processes and process_id; '
      '--connect_seconds waits longer.'
    ) from error
  _say_when_aborted(_LOST)


def _check_numbers(num_processes: int | None, process_id: int | None) -> None:
  if num_processes is not None and not 1 <= num_processes <= _MOST_PROCESSES:
    raise ValueError(
      f'num_processes must be from 1 to {_MOST_PROCESSES}, got {num_processes}.'
    )
  last = (num_processes or _MOST_PROCESSES) - 1
  if process_id is not None and not 0 <= process_id <= last:
    raise ValueError(
      f'process_id must be from 0 to {last}, below num_processes, got '
      f'{process_id}.'
    )


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


# What an abort prints; in a list, because the handler must not allocate.
_abort_line = [b'']


@_Handler
def _on_abort(number: int) -> None:
  del number
  # Only system calls: other threads may hold Python's locks.
  os.write(2, _abort_line[0])
  os._exit(1)


def _say_when_aborted(message: str) -> None:
  """Makes JAX's aborts print one line instead of a stack trace.

  Where a collective waits forever, JAX detects the missing heartbeats and
  aborts from a thread of its own, where a Python signal handler would not run.
  It also aborts where processes do not connect in time.

  Args:
    message: The line.
  """
  _abort_line[0] = f'error: {message}\n'.encode()
  library = ctypes.CDLL(None)
  library.signal.argtypes = (ctypes.c_int, _Handler)
  library.signal.restype = ctypes.c_void_p
  library.signal(signal.SIGABRT, _on_abort)
