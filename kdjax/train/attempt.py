"""One attempt to train a run to its end: all operations besides steps."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.runtime.run_folder import RunFolder
from kdjax.train.epochs import Epochs, epoch_means
from kdjax.train.evaluate import SAMPLES
from kdjax.train.input_statistics import sentence
from kdjax.train.optimizer import learning_rate_of, scale_learning_rate
from kdjax.train.run import LEARNING_RATE, Run, count_parameters
from kdjax.train.state import (
  Carry,
  Frozen,
  TrainState,
  as_bits,
  best_score,
)
from kdjax.typing import PyTree


class DivergedError(RuntimeError):
  """The loss or a gradient is no longer finite."""


class _Evaluated(NamedTuple):
  """The last evaluation: the student, its log line and its samples."""

  step: int
  student: TrainState
  logged: dict[str, Any]
  samples: dict[str, np.ndarray]


class Attempt:
  """A run with its devices, data and open folder.

  Args:
    run: The run.
    epochs: Its epochs, possibly with looked-up teacher outputs.
    folder: Its folder.
    say: Called with messages for the user.

  Attributes:
    frozen: Arguments of the steps that training never changes.
    data_key: Random key of the order of examples.
    scores: Scores of the student in the last evaluation.
  """

  def __init__(
    self,
    run: Run,
    epochs: Epochs,
    folder: RunFolder,
    say: Callable[[str], None],
  ):
    self.run = run
    self.epochs = epochs
    self.folder = folder
    self.say = say
    self.program = epochs.program
    self.task = self.program.parts.task
    devices = self.program.devices
    self.frozen = Frozen(
      teacher=devices.shard(run.teacher_variables),
      settings=devices.replicate(
        {
          name: jnp.float32(value)
          for name, value in run.swept.items()
          if name != LEARNING_RATE
        }
      ),
    )
    self.data_key = devices.replicate(jax.random.fold_in(run.key, 3))
    self.scores: dict[str, float] = {}
    self._test_data = epochs.place(run.test)
    self._evaluation: _Evaluated | None = None

  def init(self) -> TrainState:
    """Returns the state before the first step, not yet prepared."""
    run, program = self.run, self.program
    if run.pretrained is not None:
      student = dataclasses.replace(
        program.parts.student, pretrained=run.pretrained
      )
      parts = dataclasses.replace(program.parts, student=student)
      program = dataclasses.replace(program, parts=parts)
    state = program.init_state(run.key, run.teacher_variables)
    if LEARNING_RATE in run.swept:
      opt_state = scale_learning_rate(state.opt_state, run.learning_rate_factor)
      state = dataclasses.replace(state, opt_state=opt_state)
    return program.devices.replicate(state)

  def first_carry(self, state: TrainState) -> Carry:
    """Returns the carry before the first step."""
    state = self.program.with_averages(state)
    return self.epochs.first_carry(state, self.frozen)

  def prepare(
    self, carry: Carry, state: TrainState, check: Callable[[], None]
  ) -> Carry:
    """Prepares the method with the teacher's features; returns the new carry.

    Args:
      carry: Result of `first_carry`.
      state: Result of `init`, without averages.
      check: Called before each batch; may raise, to stop.
    """
    parts = self.program.parts
    if parts.teacher is None:
      return carry
    variables = parts.method.prepare(
      self.program.devices.local(state.method_variables),
      lambda read: self.epochs.evaluator.walk(
        self.frozen.teacher, self.epochs.train_data, read, check
      ),
      parts.teacher.classifier(self.run.teacher_variables),
      jax.random.fold_in(self.run.key, 4),
    )
    state = dataclasses.replace(
      state,
      params={**state.params, 'method': variables['params']},
      method_state=variables['state'],
    )
    # The averages are those of the prepared parameters.
    state = self.program.with_averages(state)
    return dataclasses.replace(
      carry, state=self.program.devices.replicate(state)
    )

  def take_table(self, check: Callable[[], None]) -> None:
    """Adds the table of the teacher's outputs to the frozen arguments."""
    if self.run.table is not None:
      table = self.run.table.table(self.epochs, self.frozen.teacher, check)
      self.frozen = dataclasses.replace(self.frozen, table=table)

  def check_finite(self, carry: Carry) -> int:
    """Returns the step of a carry.

    Raises:
      DivergedError: If a loss before it is not finite.
    """
    step = int(carry.state.step)
    sums = carry.sums
    if not (np.isfinite(sums['loss']) and np.isfinite(sums['grad_norm'])):
      self._raise_diverged(step - 1)
    return step

  def first_samples(self, state: TrainState) -> dict[str, np.ndarray]:
    """Returns samples of the first evaluation images before training."""
    # Not scored: so few images need not show any class.
    evaluation = self.epochs.evaluator.evaluate(
      state, self.frozen, self._test_data, first=SAMPLES
    )
    return evaluation.samples

  def end_epoch(self, carry: Carry, epoch: int) -> Carry:
    """Logs an epoch, and evaluates and saves at their intervals.

    Returns:
      The carry with the best score so far.
    """
    state, step = carry.state, int(carry.state.step)
    settings, last = self.run.settings, epoch == self.run.recipe.all_epochs
    self.folder.write(
      kind='train',
      epoch=epoch,
      step=step,
      learning_rate=learning_rate_of(state.opt_state),
      **epoch_means(carry.sums),
      **{name: int(count) for name, count in carry.read.items()},
    )
    if statistics := self.epochs.input_statistics():
      self.folder.write(kind='speed', epoch=epoch, step=step, **statistics)
      self.say(f'Epoch {epoch}. {sentence(statistics)}')
    if last or epoch % settings.evaluate_every == 0:
      result = self.evaluate(state)
      self.folder.write(
        kind='eval', epoch=epoch, step=step, split='test', **result.logged
      )
      self.observe(result.student, epoch)
      score = self.scores[self.task.score]
      if score > best_score(carry):
        self.folder.save_best(step, self.exported(result.student))
        best = self.program.devices.replicate(as_bits(score))
        carry = dataclasses.replace(carry, best=best)
    if last or epoch % settings.checkpoint_every == 0:
      self.folder.save(step, carry)
    return carry

  def evaluate(self, state: TrainState) -> _Evaluated:
    """Evaluates all variants of the student; the best one is the student."""
    variants = {'': state}
    for wrapper in self.program.wrappers:
      variants = wrapper.variants(state) or variants
    results = {n: self._evaluate_one(v) for n, v in variants.items()}
    best = max(results, key=lambda name: results[name][0][self.task.score])
    self.scores, samples = results[best]
    logged: dict[str, Any] = dict(self.scores)
    if len(variants) > 1:
      logged['weights'] = best
      for name, (scores, _) in results.items():
        logged |= {f'{name}_{score}': v for score, v in scores.items()}
    step = int(state.step)
    self._evaluation = _Evaluated(step, variants[best], logged, samples)
    return self._evaluation

  def observe(self, student: TrainState, epoch: int) -> None:
    """Logs the observations of the method."""
    lines = self.epochs.evaluator.observe(student, self.frozen, self._test_data)
    for kind, line in lines.items():
      self.folder.write(kind=kind, epoch=epoch, step=int(student.step), **line)

  def exported(self, student: TrainState) -> PyTree:
    """Returns variables of the exported network; see `Method.export`."""
    parts, local = self.program.parts, self.program.devices.local
    teacher = None
    if parts.teacher is not None:
      teacher = parts.teacher, self.run.teacher_variables
    _, variables = parts.method.export(
      local(student.method_variables),
      (parts.student, local(student.student_variables)),
      teacher,
    )
    return variables

  def finish(
    self,
    carry: Carry,
    first_samples: Mapping[str, np.ndarray],
    first_step: int,
    started: float,
  ) -> None:
    """Writes the final files of the run.

    Args:
      carry: Carry after the last step.
      first_samples: Result of `first_samples` before training.
      first_step: Step that this attempt started from.
      started: Time of that step, of `time.monotonic`.
    """
    state, seconds = carry.state, time.monotonic() - started
    images = (int(state.step) - first_step) * self.program.batch_size
    result = self._evaluation
    if result is None or result.step != int(state.step):  # just restored
      result = self.evaluate(state)
    networks, averages = {'student': self.exported(result.student)}, {}
    for wrapper in self.program.wrappers:
      for name, averaged in wrapper.final_states(state).items():
        networks[name] = self.exported(averaged)
        scores, _ = self._evaluate_one(averaged)
        averages.update({f'average_{k}': v for k, v in scores.items()})
    samples = dict(result.samples)
    if 'embedding' in first_samples:
      samples['embedding_before'] = first_samples['embedding']
    self.folder.finish(
      networks,
      samples,
      epoch=self.run.recipe.all_epochs,
      step=int(state.step),
      **result.logged,
      **{f'best_{self.task.score}': best_score(carry)},
      seconds=round(seconds, 3),
      images_per_second=round(images / seconds, 1),
      compilations=self.epochs.compilations(),
      **averages,
      parameters=count_parameters(state.params['student']),
      forward_flops=self.program.forward_flops(state),
    )

  def _evaluate_one(
    self, student: TrainState
  ) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Returns the scores of a student, and samples of the first images."""
    evaluation = self.epochs.evaluator.evaluate(
      student, self.frozen, self._test_data
    )
    samples = {n: rows[:SAMPLES] for n, rows in evaluation.samples.items()}
    return self.task.summarize(evaluation.outputs), samples

  def _raise_diverged(self, step: int) -> None:
    epoch = step // self.epochs.steps_per_epoch
    self.folder.write(kind='diverged', epoch=epoch, step=step)
    self.folder.wait()
    checkpoints = self.run.folder / 'checkpoints'
    raise DivergedError(
      f'The loss or its gradient was not finite at step {step} (epoch '
      f'{epoch}) of {self.run.folder}. Checkpoints of the steps before, if '
      f'any, are kept in {checkpoints}. A smaller --learning_rate or method '
      'weight usually helps.'
    )
