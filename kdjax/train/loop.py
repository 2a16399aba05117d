"""The way of one run from a step to its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import jax
import numpy as np

from kdjax.runtime.progress import Show
from kdjax.runtime.run_folder import Record
from kdjax.runtime.signals import StopRequest
from kdjax.train.averaging import snapshot_factors
from kdjax.train.evaluate import Evaluation
from kdjax.train.speed import sentence
from kdjax.train.state import TrainState
from kdjax.typing import PyTree

if TYPE_CHECKING:
  from kdjax.train.run import Run

FEATURE_IMAGES = 500  # of the evaluation set: those that methods observe

_DISPATCH_SECONDS = 1.0  # how long a dispatch may keep a signal waiting

T = TypeVar('T')


class Dispatch(NamedTuple):
  """What a run asks for: steps from where the carry stands up to `stop`.

  The rest is what `Program.advance` takes besides.
  """

  carry: PyTree
  teacher_variables: PyTree
  order: jax.Array
  stop: int
  looked_up: PyTree = None


# The way of a run from dispatch to dispatch: it asks, and is sent the carry.
Course = Generator[Dispatch, PyTree, T]


class DivergedError(RuntimeError):
  """The loss or a gradient was not a finite number any more."""


class Loop:
  """Trains a run, evaluates it, saves it, and stops where it must.

  Args:
    run: What is trained.
    record: Its folder.
    request: Whether to stop.
    say: Told once an epoch what binds a streamed run.
  """

  def __init__(
    self,
    run: Run,
    record: Record,
    request: StopRequest,
    say: Callable[[str], None],
  ):
    self.run = run
    self.program = run.program
    self.record = record
    self.request = request
    self.say = say
    self.total = self.program.steps_per_epoch * run.recipe.all_epochs
    self.scores: dict[str, float] = {}
    self.evaluation: Evaluation | None = None
    self._started = time.monotonic()
    self._data_key = run.program.devices.replicate(
      jax.random.fold_in(run.key, 3)
    )
    self._order: tuple[int, Any] = (-1, None)  # of which epoch, and it

  def go_on(
    self, carry: PyTree, step: int, show: Show
  ) -> Course[tuple[TrainState, Evaluation]]:
    """Trains from `step` to the end; returns the state there, evaluated."""
    per_epoch = self.program.steps_per_epoch
    chunk = 1
    if step == 0:
      self._observe(carry[0], 0, 0)
    while step < self.total:
      end = (step // per_epoch + 1) * per_epoch
      # Clocks differ, and every process must dispatch the same steps.
      chunk = self.program.devices.of_first(chunk)
      began = time.monotonic()
      carry = yield self._dispatch(carry, step, min(step + chunk, end))
      step = self._checked(carry)
      chunk = min(_next_chunk(chunk, time.monotonic() - began), per_epoch)
      if step == end:
        carry = self._end_epoch(carry, step)
      show(step, self.scores)
      self._stop_if_asked(carry, step)
    # None where it was resumed after the last step.
    return carry[0], self.evaluation or self._evaluate(carry[0])

  def end(self, state: TrainState, first_step: int) -> dict[str, Any]:
    """What the line says that the run is done."""
    seconds = time.monotonic() - self._started
    images = (int(state.step) - first_step) * self.program.batch_size
    return {
      'epoch': self.run.recipe.all_epochs,
      'step': int(state.step),
      **self.scores,
      f'best_{self.program.parts.task.score}': self.record.best,
      'seconds': round(seconds, 3),
      'images_per_second': round(images / seconds, 1),
      'compilations': self.program.compilations(),
    }

  def _dispatch(self, carry: PyTree, step: int, stop: int) -> Dispatch:
    """The steps up to `stop`, or as many as a table in the host's memory."""
    epoch = step // self.program.steps_per_epoch
    if self._order[0] != epoch:
      self._order = epoch, self.program.order(self._data_key, epoch)
    asked = Dispatch(carry, self.run.teacher_variables, self._order[1], stop)
    table = self.run.host_table
    if table is None:
      return asked
    stop = min(stop, step + table.longest)
    found = table.ahead(carry[0].key, asked.order, step, stop)
    return asked._replace(stop=stop, looked_up=found)

  def _checked(self, carry) -> int:
    """The step that a dispatch came to, all losses up to it being finite."""
    step = int(carry[0].step)
    sums = carry[1]
    if not (np.isfinite(sums['loss']) and np.isfinite(sums['grad_norm'])):
      self._diverged(step - 1)
    return step

  def _diverged(self, step):
    epoch = step // self.program.steps_per_epoch
    self.record.write(kind='diverged', epoch=epoch, step=step)
    self.record.wait()
    folder = self.run.folder / 'checkpoints'
    raise DivergedError(
      f'The loss or its gradient was not finite at step {step} (epoch '
      f'{epoch}) of {self.run.folder}. Checkpoints of the steps before, if '
      f'any, are kept in {folder}. A smaller --learning_rate or method weight '
      'usually helps.'
    )

  def _end_epoch(self, carry, step):
    epoch = step // self.program.steps_per_epoch
    carry = (self._add_snapshot(carry[0], epoch), *carry[1:])
    state, sums, *place = carry
    settings = self.run.settings
    last = epoch == self.run.recipe.all_epochs
    self.record.write(
      kind='train',
      epoch=epoch,
      step=step,
      learning_rate=float(self.run.recipe.learning_rate_at(epoch - 1)),
      **_means(sums),
      **{name: int(count) for part in place for name, count in part.items()},
    )
    if speed := self.program.take_speed():
      self.record.write(kind='speed', epoch=epoch, step=step, **speed)
      self.say(f'Epoch {epoch}. {sentence(speed)}')
    if last or epoch % settings.evaluate_every == 0:
      self._evaluate(state)
      self.record.write(
        kind='eval', epoch=epoch, step=step, split='test', **self.scores
      )
      self._observe(state, epoch, step)
      score = self.scores[self.program.parts.task.score]
      self.record.save_if_best(step, score, self.program.exported(state))
    if last or epoch % settings.checkpoint_every == 0:
      self.record.save(step, carry)
    return carry

  def _add_snapshot(self, state, epoch):
    recipe = self.run.recipe
    count = recipe.average_last or 0
    place = epoch - 1 - (recipe.all_epochs - count)
    if place < 0:
      return state
    factor = snapshot_factors(count, recipe.average_form)[place]
    return self.program.add_snapshot(state, factor)

  def _evaluate(self, state) -> Evaluation:
    self.evaluation = self.program.passes.evaluate(
      state, self.run.teacher_variables, self.run.test_data
    )
    self.scores = self.program.parts.task.summarize(self.evaluation.outputs)
    return self.evaluation

  def _observe(self, state, epoch, step):
    lines = self.program.passes.observe(
      state,
      self.run.teacher_variables,
      self.run.test_data,
      first=FEATURE_IMAGES,
    )
    for kind, line in lines.items():
      self.record.write(kind=kind, epoch=epoch, step=step, **line)

  def _stop_if_asked(self, carry, step):
    if self.program.devices.any(self.request.asked):
      self.record.save(step, carry)
      self.record.wait()
      self.request.stop()


def _next_chunk(chunk: int, seconds: float) -> int:
  """Steps of the next dispatch, towards `_DISPATCH_SECONDS` by doubling.

  It changes when a signal is heard and nothing else: the steps are the same.
  """
  if seconds > 2 * _DISPATCH_SECONDS:
    return max(1, chunk // 2)
  return 2 * chunk if seconds < _DISPATCH_SECONDS / 2 else chunk


def _means(sums) -> dict[str, Any]:
  """Means over the epoch's examples, the weighted terms by name."""
  host = {name: float(value) for name, value in sums.items()}
  count = host.pop('examples')
  terms = {}
  flat = {}
  for name, total in host.items():
    group, _, rest = name.partition('/')
    if group == 'terms':
      terms[rest] = total / count
    elif group == 'outputs':
      flat[f'train_{rest}'] = total / count
    else:
      flat[name] = total / count
  return {**flat, 'terms': terms}
