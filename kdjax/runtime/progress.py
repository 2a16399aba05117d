"""Progress of runs on the terminal: bars, or lines where there is none."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import rich.console
import rich.progress

ReportStep = Callable[[int, Mapping[str, float]], None]

_LINE_SECONDS = 5.0  # between two lines where the output is not a terminal


class Progress:
  """Progress of the runs of a command, printed to standard error.

  Args:
    enabled: False in processes that print nothing.
  """

  def __init__(self, *, enabled: bool = True):
    self.console = rich.console.Console(
      stderr=True, quiet=not enabled, soft_wrap=True, highlight=False
    )
    self._bars: rich.progress.Progress | None = None
    self._active = 0  # runs with a bar

  def say(self, message: str) -> None:
    """Prints a message as plain text, above the bars.

    A terminal that has closed is no reason for a run to fail.

    Args:
      message: The text, without markup.
    """
    # Names of files may hold bytes that are not UTF-8.
    text = message.encode(errors='backslashreplace').decode()
    with contextlib.suppress(OSError):
      self.console.print(text, markup=False)

  @contextlib.contextmanager
  def run(
    self, about: Mapping[str, Any], total: int, done: int
  ) -> Iterator[ReportStep]:
    """Shows the progress of one run.

    Args:
      about: Description of the run, with `arm`, `network` and `seed`.
      total: Number of steps.
      done: Steps done before.

    Yields:
      A function to call with the current step and the latest scores.
    """
    title = f'{about["arm"]} ({about["network"]}), seed {about["seed"]}'
    if self.console.is_terminal:
      with self._bar(title, total, done) as report:
        yield report
    else:
      yield self._lines(title, total)

  @contextlib.contextmanager
  def _bar(self, title: str, total: int, done: int) -> Iterator[ReportStep]:
    if self._bars is None:  # one display for all concurrent runs
      self._bars = self._new_display()
      with contextlib.suppress(OSError):
        self._bars.start()
    bars = self._bars
    task = bars.add_task(title, total=total, completed=done, scores='')
    self._active += 1
    try:
      yield lambda step, scores: bars.update(
        task, completed=step, scores=_format(scores)
      )
    finally:
      self._active -= 1
      if not self._active:
        with contextlib.suppress(OSError):
          bars.stop()
        self._bars = None

  def _new_display(self) -> rich.progress.Progress:
    return rich.progress.Progress(
      rich.progress.TextColumn('{task.description}'),
      rich.progress.BarColumn(),
      rich.progress.MofNCompleteColumn(),
      rich.progress.TimeRemainingColumn(),
      rich.progress.TextColumn('{task.fields[scores]}'),
      console=self.console,
    )

  def _lines(self, title: str, total: int) -> ReportStep:
    self.say(f'{title}: starts')
    last: float | None = None  # the first step is printed at once

    def report(step: int, scores: Mapping[str, float]) -> None:
      nonlocal last
      recent = last is not None and time.monotonic() - last < _LINE_SECONDS
      if step < total and recent:
        return
      last = time.monotonic()
      self.say(f'{title}: step {step} of {total}  {_format(scores)}')

    return report


def _format(scores: Mapping[str, float]) -> str:
  return '  '.join(
    f'{name} {value:.4g}' for name, value in scores.items() if name != 'correct'
  )
