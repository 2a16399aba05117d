"""Schedule of runs: sequential, or one per device concurrently."""

import queue
import threading
from collections.abc import Sequence
from typing import Literal

import jax

from kdjax.runtime.mesh import Devices, each_device
from kdjax.runtime.progress import Progress
from kdjax.runtime.signals import Interrupted, StopRequest
from kdjax.train.attempt import DivergedError
from kdjax.train.loop import train
from kdjax.train.resident import ResidentEpochs
from kdjax.train.run import Run

# `auto`: each run on a device of its own, where more than half of the devices
# get a run and no CPU cores share batches, which is faster. `never`: one after
# the other, each on all devices.
Together = Literal['auto', 'never']


def train_all(
  runs: Sequence[Run],
  request: StopRequest,
  progress: Progress,
  together: Together,
) -> list[str]:
  """Trains all runs to their ends, except finished ones.

  A run whose loss stops being finite does not stop the others, and is not
  trained again when the command is resumed.

  Args:
    runs: Runs of one program and one teacher.
    request: Whether a signal has requested a stop.
    progress: Progress display.
    together: Which runs train concurrently.

  Returns:
    A message for each run that has diverged, now or before.

  Raises:
    ValueError: If a folder holds a run of another configuration.
    Interrupted: If a signal requested a stop; all states are saved.
  """
  unfinished = [run for run in runs if not run.finished()]
  diverged = [_diverged_before(run) for run in unfinished]
  messages = [message for message in diverged if message]
  waiting = [run for run, message in zip(unfinished, diverged) if not message]
  # The number of all runs decides, so that a resumed run is bit-identical.
  if runs and runs_at_once(runs[0], len(runs), together) > 1:
    return messages + _train_on_each_device(waiting, request, progress)
  for run in waiting:
    try:
      train(run, request, progress)
    except DivergedError as error:
      progress.say(str(error))
      messages.append(str(error))
  return messages


def _diverged_before(run: Run) -> str:
  """Returns a message if the run has diverged before, and else nothing."""
  step = run.diverged_at()
  if step is None:
    return ''
  return (
    f'{run.folder} diverged at step {step} before and is left as it is. Delete '
    'that folder to train it again.'
  )


def runs_at_once(run: Run, runs: int, together: Together) -> int:
  """Returns how many of `runs` runs like this one train concurrently."""
  resident = isinstance(run.epochs, ResidentEpochs)
  if together == 'never' or not resident or jax.process_count() > 1:
    return 1
  local = jax.local_device_count()
  mesh_devices = run.epochs.program.devices
  if 2 * runs <= local or mesh_devices.mesh.shape['fsdp'] > 1:
    return 1  # devices would be idle, or the teacher fits none of them
  if mesh_devices.count > 1 and jax.default_backend() == 'cpu':
    return 1  # half a batch per core is faster than half of the runs
  return min(runs, local)


def _train_on_each_device(
  runs: Sequence[Run], request: StopRequest, progress: Progress
) -> list[str]:
  """Trains runs in one thread per device, each the next that is waiting.

  Returns:
    A message for each run that has diverged.
  """
  waiting: queue.SimpleQueue[Run] = queue.SimpleQueue()
  for run in runs:
    waiting.put(run)
  messages: list[str] = []
  failures: list[BaseException] = []
  placing = threading.Lock()  # so that a program is made once per device

  def work(devices: Devices) -> None:
    with jax.default_device(devices.mesh.devices.flat[0]):
      while not failures:
        try:
          run = waiting.get_nowait()
        except queue.Empty:
          return
        try:
          with placing:
            run = run.on(devices)
          train(run, request, progress)
        except DivergedError as error:
          progress.say(str(error))
          messages.append(str(error))
        except BaseException as failure:  # raised by the caller's thread
          failures.append(failure)

  threads = [
    threading.Thread(target=work, args=[devices], daemon=True)
    for devices in each_device()[: len(runs)]
  ]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  if failures:
    # A stop request takes precedence over other failures.
    raise min(failures, key=lambda f: not isinstance(f, Interrupted))
  return messages
