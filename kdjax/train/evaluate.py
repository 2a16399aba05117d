"""Evaluation, observations and teacher passes over resident splits."""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from kdjax.data import to_float
from kdjax.methods.base import Read
from kdjax.runtime.mesh import Devices
from kdjax.train.batches import over_batches
from kdjax.train.forward import evaluation_pass, predict
from kdjax.train.parts import Parts
from kdjax.train.state import Frozen, TrainState
from kdjax.typing import Batch, PyTree

SAMPLES = 500  # evaluation images that methods observe and the report draws

_EVAL_BATCH = 250


class Evaluation(NamedTuple):
  """Result of an evaluation, one row per example.

  Attributes:
    outputs: Outputs of the task by name, `[N, …]` each.
    samples: Arrays of the task for `features.npz`, `[N, …]` each.
  """

  outputs: dict[str, np.ndarray]
  samples: dict[str, np.ndarray]


class Evaluator(Protocol):
  """Passes over splits without training."""

  def evaluate(
    self,
    state: TrainState,
    frozen: Frozen,
    data: Any,
    *,
    first: int | None = None,
  ) -> Evaluation:
    """Evaluates the student.

    Args:
      state: State of training.
      frozen: Frozen arguments of the step.
      data: A split from `Epochs.place`.
      first: Number of examples (default: all).
    """
    ...

  def observe(
    self, state: TrainState, frozen: Frozen, data: Any
  ) -> dict[str, dict[str, float]]:
    """Returns the method's log lines by kind; see `Method.observe`."""
    ...

  def walk(
    self,
    teacher_variables: PyTree,
    data: Any,
    read: Read,
    check: Callable[[], None],
  ) -> Iterator[PyTree]:
    """Runs the teacher over a split, in order and unaugmented.

    Args:
      teacher_variables: Variables of the teacher.
      data: A split from `Epochs.place`.
      read: Function `(features, batch)` of the results; compiled.
      check: Called before each batch; may raise, to stop.

    Yields:
      The results of `read` for each batch, on the host.
    """
    ...


class ResidentEvaluator:
  """`Evaluator` of splits on the devices: one dispatch per evaluation.

  Args:
    parts: Parts of the step.
    devices: Devices that hold the splits.
    batch_size: Examples per batch of a walk.
  """

  def __init__(self, parts: Parts, devices: Devices, batch_size: int):
    self._devices = devices
    self._batch_size = batch_size
    self._parts = parts
    self._evaluate = devices.jit(self._evaluate_batches)
    self._observe = devices.jit(
      functools.partial(observe_batch, parts=parts, devices=devices)
    )

  def evaluate(
    self,
    state: TrainState,
    frozen: Frozen,
    data: Batch,
    *,
    first: int | None = None,
  ) -> Evaluation:
    """Evaluates the student; see `Evaluator`."""
    size = len(data['index'])
    count = min(size, first or size)
    batches = -(-count // self._eval_batch(data))
    kept = self._devices.awaited(
      self._evaluate(evaluated(state), frozen, data, np.int32(batches))
    )
    return Evaluation(
      *jax.tree.map(lambda rows: np.asarray(rows)[:count], kept)
    )

  def observe(
    self, state: TrainState, frozen: Frozen, data: Batch
  ) -> dict[str, dict[str, float]]:
    """Returns the method's log lines by kind; see `Evaluator`."""
    if self._parts.teacher is None or not self._parts.method.observes:
      return {}
    batch = jax.tree.map(lambda array: array[:SAMPLES], data)
    return finite_lines(self._observe(evaluated(state), frozen, batch))

  def walk(
    self,
    teacher_variables: PyTree,
    data: Batch,
    read: Read,
    check: Callable[[], None],
  ) -> Iterator[PyTree]:
    """Runs the teacher over a split; see `Evaluator`."""
    run = self._devices.jit(
      functools.partial(
        teacher_batch, read=read, parts=self._parts, devices=self._devices
      )
    )
    data = self._devices.local(data)
    for start in range(0, len(data['index']), self._batch_size):
      check()
      rows = slice(start, start + self._batch_size)
      batch = jax.tree.map(lambda array, rows=rows: array[rows], data)
      batch = self._devices.replicate(batch)
      result = self._devices.awaited(run(teacher_variables, batch))
      yield jax.device_get(self._devices.local(result))

  def _eval_batch(self, data: Batch) -> int:
    """Returns the size of an evaluation batch, a multiple of the devices."""
    per_device = -(-_EVAL_BATCH // self._devices.count)
    return min(len(data['index']), per_device * self._devices.count)

  def _evaluate_batches(
    self, student: Any, frozen: Frozen, data: Batch, batches: jax.Array
  ) -> PyTree:
    """Evaluates the first batches, into arrays for all examples."""

    def evaluate(batch: Batch) -> PyTree:
      return evaluate_batch(
        student, frozen, batch, parts=self._parts, devices=self._devices
      )

    return over_batches(evaluate, data, self._eval_batch(data), batches)


def evaluated(state: TrainState) -> tuple[PyTree, PyTree]:
  """Returns the variables of student and method that are evaluated."""
  return state.student_variables, state.method_variables


def evaluate_batch(
  student: Any, frozen: Frozen, batch: Batch, *, parts: Parts, devices: Devices
) -> tuple[PyTree, PyTree]:
  """Computes outputs and samples of the task for a batch; inside jit.

  Args:
    student: Result of `evaluated`.
    frozen: Frozen arguments of the step.
    batch: Batch with uint8 images.
    parts: Parts of the step.
    devices: Devices that share the batch.
  """
  batch = devices.split(batch)
  images = to_float(batch['image'])
  features = predict(
    student[0], student[1], frozen.teacher, images, parts=parts
  )
  kept = (
    parts.task.outputs(features, batch),
    parts.task.samples(features, batch),
  )
  return devices.gather(kept)


def observe_batch(
  student: Any, frozen: Frozen, batch: Batch, *, parts: Parts, devices: Devices
) -> PyTree:
  """Computes the observations of the method on a batch; inside jit."""
  batch = devices.split({**batch, 'image': to_float(batch['image'])})
  student_variables, method_variables = student
  assert parts.teacher is not None
  images = batch['image']
  student_pass = evaluation_pass(parts.student, student_variables, images)
  teacher_pass = evaluation_pass(
    parts.teacher,
    frozen.teacher,
    images,
    train=parts.method.teacher_mode == 'train',
  )
  # Replicated on each device from here: otherwise each iteration of a transport
  # search would communicate.
  student_pass, teacher_pass, batch = devices.gather(
    (student_pass, teacher_pass, batch)
  )
  lines = parts.method.observe(
    method_variables, student_pass, teacher_pass, batch
  )
  return devices.gather(lines)


def teacher_batch(
  teacher_variables: PyTree,
  batch: Batch,
  *,
  read: Read,
  parts: Parts,
  devices: Devices,
) -> PyTree:
  """Applies `read` to the teacher's features of a batch; inside jit."""
  assert parts.teacher is not None
  batch = devices.split({**batch, 'image': to_float(batch['image'])})
  features, _ = parts.teacher.apply(
    teacher_variables, batch['image'], train=False
  )
  return devices.gather(read(features, batch))


def finite_lines(lines: PyTree) -> dict[str, dict[str, float]]:
  """Returns log lines as floats, without non-finite values."""
  finite = {
    kind: {n: float(v) for n, v in line.items() if np.isfinite(v)}
    for kind, line in jax.device_get(lines).items()
  }
  return {kind: line for kind, line in finite.items() if line}
