"""Input statistics: whether steps wait for images or images for steps."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_HALF = 0.5


class InputStatistics:
  """Time that a loop over streamed batches waits for its input.

  The loop always waits for one of two: for the next batch, while the devices
  are idle, or for the devices, while batches are ready. So the share of time in
  which it waits for batches is near 1 if the input is the bottleneck and near 0
  if the step is. Time between epochs is not counted.
  """

  def __init__(self):
    self.reset()

  def reset(self) -> None:
    """Resets all measurements, as at the start of an epoch."""
    self._steps = 0
    self._waited = 0.0
    self._seconds = 0.0
    self._began = time.monotonic()

  @contextmanager
  def running(self) -> Iterator[None]:
    """Measures the loop; at its end the devices must be done."""
    self._began = time.monotonic()
    yield
    self._seconds += time.monotonic() - self._began

  @contextmanager
  def waiting(self) -> Iterator[None]:
    """Measures the wait for the batch of one step."""
    began = time.monotonic()
    yield
    self._waited += time.monotonic() - began
    self._steps += 1

  def summary(self, batch_size: int) -> dict[str, Any]:
    """Returns the measurements; empty if no step was measured.

    Args:
      batch_size: Images per step.

    Returns:
      `images_per_second`; `waited_for_images`, the share of time from 0 to 1;
      and `binds`, the bottleneck: `input` or `step`.
    """
    if not self._steps:
      return {}
    share = self._waited / self._seconds
    return {
      'images_per_second': round(self._steps * batch_size / self._seconds, 1),
      'waited_for_images': round(share, 3),
      'binds': 'input' if share > _HALF else 'step',
    }


def sentence(summary: dict[str, Any]) -> str:
  """Returns a summary as a sentence."""
  text = (
    f'The {summary["binds"]} is the bottleneck: the loop waited for images '
    f'{summary["waited_for_images"]:.0%} of the time, at '
    f'{summary["images_per_second"]:,.1f} images/s.'
  )
  if summary['binds'] == 'input':
    text += ' --workers and --threads decode faster while cores are idle.'
  return text
