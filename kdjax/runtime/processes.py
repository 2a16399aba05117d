"""The processes of one run: how they find each other, and when one is lost."""

import ctypes
import os
import re
import signal
from collections.abc import Mapping

import jax

# A process that says nothing for so long is taken for dead. JAX's own 100 s
# leave the others waiting, and the machines paid for, for longer.
_SILENCE_SECONDS = 30

_LOST = (
  'another process of this run has ended or cannot be reached. What was saved '
  'before is kept: start all of them again, with --resume.'
)
# How errors of XLA's collectives and of the coordination service begin; they
# are of several classes, `ValueError` among them.
_STATUS = re.compile(
  '(ABORTED|CANCELLED|DEADLINE_EXCEEDED|FAILED_PRECONDITION|INTERNAL'
  '|UNAVAILABLE|UNKNOWN): '
)
_Handler = ctypes.CFUNCTYPE(None, ctypes.c_int)


def in_cluster(environment: Mapping[str, str] = os.environ) -> bool:
  """Whether Slurm, Open MPI or a TPU pod started several of this process.

  By what they set: `SLURM_STEP_NUM_TASKS`, `OMPI_COMM_WORLD_SIZE`, and
  `TPU_WORKER_HOSTNAMES`, which virtual machines of a pod slice may lack.
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
  """Joins the processes of one run; called in each before anything else.

  On a TPU pod, under Slurm or Open MPI everything is found out by itself.
  Elsewhere each process is told. From then on the loss of one ends the others
  with a line that says so.

  Args:
    coordinator: `HOST:PORT` of process 0, reachable from all.
    num_processes: How many there are.
    process_id: This one's number, from 0.

  Raises:
    ValueError: If they do not find each other; the message says why.
  """
  _say_when_aborted()
  try:
    jax.distributed.initialize(
      coordinator,
      num_processes,
      process_id,
      heartbeat_timeout_seconds=_SILENCE_SECONDS,
    )
  except (ValueError, RuntimeError) as error:
    raise ValueError(
      f'The processes of this run did not find each other: {error} Give '
      'coordinator, num_processes and process_id.'
    ) from error


def lost_process(error: BaseException) -> str | None:
  """What to say of an error by which the loss of a process shows, or `None`."""
  if jax.process_count() == 1 or not _STATUS.match(str(error)):
    return None
  return f'{_LOST} (JAX: {str(error).splitlines()[0][:200]})'


@_Handler
def _on_abort(number: int) -> None:
  del number
  # Nothing of Python's may be waited for: other threads stand still.
  os.write(2, f'error: {_LOST}\n'.encode())
  os._exit(1)


def _say_when_aborted() -> None:
  """Ends an abort of JAX's, which it prints a stack of, with a plain line.

  Where collectives wait for ever, JAX notices by missing heartbeats and aborts
  from a thread of its own. A handler of Python's would never come to run.
  """
  library = ctypes.CDLL(None)
  library.signal.argtypes = (ctypes.c_int, _Handler)
  library.signal.restype = ctypes.c_void_p
  library.signal(signal.SIGABRT, _on_abort)
