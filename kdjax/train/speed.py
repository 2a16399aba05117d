"""Whether a loop over streamed batches waits for images or for the devices."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_HALF = 0.5


class Speed:
  """Where the time of such a loop goes.

  It always waits for one of two: for the next batch, while the devices have
  nothing to do, or, batches lying ready, for the devices. So the share of the
  time in which it waits for batches is near 1 where the input binds and near 0
  where the step does. What lies between epochs is not counted.
  """

  def __init__(self):
    self.restart()

  def restart(self) -> None:
    """Forgets what was measured, as at the beginning of an epoch."""
    self._steps = 0
    self._waited = 0.0
    self._seconds = 0.0
    self._began = time.monotonic()

  @contextmanager
  def running(self) -> Iterator[None]:
    """Around the loop, at the end of which the devices are done."""
    self._began = time.monotonic()
    yield
    self._seconds += time.monotonic() - self._began

  @contextmanager
  def waiting(self) -> Iterator[None]:
    """Around the wait for the batch of one step."""
    began = time.monotonic()
    yield
    self._waited += time.monotonic() - began
    self._steps += 1

  def line(self, batch_size: int) -> dict[str, Any]:
    """What the log says; nothing if no step was measured.

    Returns:
      `images_per_second`; `waited_for_images`, the share of the time; and
      `binds`: `input` or `step`.
    """
    if not self._steps:
      return {}
    share = self._waited / self._seconds
    return {
      'images_per_second': round(self._steps * batch_size / self._seconds, 1),
      'waited_for_images': round(share, 3),
      'binds': 'input' if share > _HALF else 'step',
    }


def sentence(line: dict[str, Any]) -> str:
  """The same for people."""
  said = (
    f'The {line["binds"]} binds: the loop waited for images '
    f'{line["waited_for_images"]:.0%} of the time, at '
    f'{line["images_per_second"]:,.1f} images/s.'
  )
  if line['binds'] == 'input':
    said += ' --workers and --threads decode faster while cores are idle.'
  return said
