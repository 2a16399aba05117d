"""What a person sees while a run goes on: a bar, or lines where none can be."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import rich.console
import rich.progress

Show = Callable[[int, Mapping[str, float]], None]

_LINE_SECONDS = 5.0  # between two lines where the output is not a terminal


class Progress:
  """Progress of the runs of a command, on the error stream.

  Args:
    enabled: False in processes that do not report.
  """

  def __init__(self, *, enabled: bool = True):
    self.console = rich.console.Console(
      stderr=True, quiet=not enabled, soft_wrap=True, highlight=False
    )
    self._bars: rich.progress.Progress | None = None
    self._shown = 0  # runs in it

  def say(self, message: str) -> None:
    """One line between the bars; plain text, no markup."""
    self.console.print(message, markup=False)

  @contextlib.contextmanager
  def run(
    self, about: Mapping[str, Any], total: int, done: int
  ) -> Iterator[Show]:
    """Shows one run; the function it gives takes a step and the last scores."""
    title = f'{about["arm"]} ({about["network"]}), seed {about["seed"]}'
    if self.console.is_terminal:
      with self._bar(title, total, done) as show:
        yield show
    else:
      yield self._lines(title, total)

  @contextlib.contextmanager
  def _bar(self, title: str, total: int, done: int) -> Iterator[Show]:
    if self._bars is None:  # one display, whatever number of runs
      self._bars = self._columns()
      self._bars.start()
    bars = self._bars
    task = bars.add_task(title, total=total, completed=done, scores='')
    self._shown += 1
    try:
      yield lambda step, scores: bars.update(
        task, completed=step, scores=_scores(scores)
      )
    finally:
      self._shown -= 1
      if not self._shown:
        bars.stop()
        self._bars = None

  def _columns(self) -> rich.progress.Progress:
    return rich.progress.Progress(
      rich.progress.TextColumn('{task.description}'),
      rich.progress.BarColumn(),
      rich.progress.MofNCompleteColumn(),
      rich.progress.TimeRemainingColumn(),
      rich.progress.TextColumn('{task.fields[scores]}'),
      console=self.console,
    )

  def _lines(self, title: str, total: int) -> Show:
    self.say(f'{title}: starts')
    last: float | None = None  # the first steps are said at once

    def show(step: int, scores: Mapping[str, float]) -> None:
      nonlocal last
      recent = last is not None and time.monotonic() - last < _LINE_SECONDS
      if step < total and recent:
        return
      last = time.monotonic()
      self.say(f'{title}: step {step} of {total}  {_scores(scores)}')

    return show


def _scores(scores: Mapping[str, float]) -> str:
  return '  '.join(
    f'{name} {value:.4g}' for name, value in scores.items() if name != 'correct'
  )
