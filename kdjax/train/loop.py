"""Training loop of one run."""

import contextlib
import functools
import time

from kdjax.runtime.progress import Progress
from kdjax.runtime.run_folder import RunFolder
from kdjax.runtime.signals import StopRequest, stop_if_asked
from kdjax.train.attempt import Attempt
from kdjax.train.dispatch import next_chunk
from kdjax.train.run import Run


def train(run: Run, request: StopRequest, progress: Progress) -> None:
  """Trains a run from its last checkpoint, or from the start, to its end.

  Args:
    run: The run; must not be at its end.
    request: Whether a signal has requested a stop.
    progress: Progress display.

  Raises:
    ValueError: If the folder holds a run of another configuration, or a
      checkpoint of another network.
    DivergedError: If the loss stops being finite.
    Interrupted: If a signal requested a stop; the state is saved.
  """
  epochs, devices = run.epochs, run.epochs.program.devices
  check = functools.partial(stop_if_asked, request, devices)
  with RunFolder(run.folder, run.about, devices) as folder:
    if run.table is not None:
      epochs = run.table.epochs_for(epochs)
    with contextlib.closing(epochs):
      attempt = Attempt(run, epochs, folder, progress.say)
      state = attempt.init()
      first_samples = attempt.first_samples(state)
      fresh = attempt.first_carry(state)
      carry = folder.restore(fresh, run.settings.checkpoint_every, progress.say)
      if carry is None:
        carry = attempt.prepare(fresh, state, check)
        attempt.observe(carry.state, epoch=0)
      attempt.take_table(check)

      first_step = step = int(carry.state.step)
      started = time.monotonic()
      per_epoch, total, chunk = epochs.steps_per_epoch, run.total_steps, 1
      with progress.run(run.about, total, step) as show:
        while step < total:
          epoch = step // per_epoch
          order = epochs.begin_epoch(attempt.data_key, epoch)
          end = (epoch + 1) * per_epoch
          while step < end:
            # Clocks differ, and all processes must dispatch the same steps.
            chunk, began = devices.of_first(chunk), time.monotonic()
            stop = min(step + chunk, end)
            carry = epochs.advance(carry, attempt.frozen, order, stop)
            step = attempt.check_finite(carry)
            chunk = next_chunk(chunk, time.monotonic() - began)
            chunk = min(chunk, per_epoch)
            if step == end:
              carry = attempt.end_epoch(carry, epoch + 1)
            show(step, attempt.scores)
            if devices.any(request.asked):
              folder.save(step, carry)
              folder.wait()
              request.stop()

      attempt.finish(carry, first_samples, first_step, started)
