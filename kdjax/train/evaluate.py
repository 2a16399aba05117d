"""Passes over sets that live on the devices, and that train nothing."""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.data import to_float
from kdjax.features import Features
from kdjax.runtime.mesh import Devices
from kdjax.train.batches import over_batches
from kdjax.train.forward import evaluation_pass, predict
from kdjax.train.parts import Batch, Parts
from kdjax.train.state import TrainState
from kdjax.typing import PyTree

_EVAL_BATCH = 250


class Evaluation(NamedTuple):
  """What evaluation keeps of a set's examples, row by row.

  Attributes:
    outputs: The task's, `[N, …]` each.
    embedding: The student's, `[N, D]`.
    labels: `[N, …]`.
  """

  outputs: dict[str, np.ndarray]
  embedding: np.ndarray
  labels: np.ndarray


class Passes:
  """Evaluation, what a method observes, and the teacher over a set.

  Args:
    parts: What a step is made of.
    devices: Where the sets are.
    batch_size: Of a walk of the teacher.
  """

  def __init__(self, parts: Parts, devices: Devices, batch_size: int):
    self.parts = parts
    self.devices = devices
    self.batch_size = batch_size
    self._compile()

  def _compile(self) -> None:
    """Makes the functions that depend on where the images lie."""
    self.evaluate_batches = jax.jit(self._evaluate_batches)
    self.look_at = jax.jit(self._look_at, static_argnames='count')

  def evaluate(
    self,
    state: TrainState,
    teacher_variables: PyTree,
    data: Batch,
    *,
    first: int | None = None,
  ) -> Evaluation:
    """Outputs, embeddings and labels of a set's examples, or of the first.

    All batches in one dispatch; no example is dropped or counted twice.
    """
    variables = state_variables(state, teacher_variables)
    count = min(len(data['label']), first or len(data['label']))
    batches = -(-count // self._size(data))
    found = self.devices.awaited(
      self.evaluate_batches(variables, data, np.int32(batches))
    )
    # Of the local copy: the set is whole on every device.
    labels = self.devices.local(data['label'])
    outputs, embedding, labels = jax.tree.map(
      lambda rows: np.asarray(rows)[:count], (*found, labels)
    )
    return Evaluation(outputs, embedding, labels)

  def observe(
    self,
    state: TrainState,
    teacher_variables: PyTree,
    data: Batch,
    *,
    first: int,
  ) -> dict[str, dict[str, float]]:
    """Lines for the log, by kind; see `Method.observe`.

    Args:
      state: Of the student as it is evaluated, and of the method.
      teacher_variables: The frozen teacher's.
      data: The evaluation set.
      first: How many of its images are seen, all in one pass.
    """
    if self.parts.teacher is None or not self.parts.method.observes:
      return {}
    variables = state_variables(state, teacher_variables)
    count = min(len(data['label']), first)
    found = jax.device_get(self.look_at(variables, data, count))
    lines = {
      kind: {n: float(v) for n, v in line.items() if np.isfinite(v)}
      for kind, line in found.items()
    }
    return {kind: line for kind, line in lines.items() if line}

  def of_teacher(
    self, teacher_variables: PyTree, data: Any
  ) -> Iterator[tuple[Features, Batch]]:
    """One walk of the teacher over a set, in order, as it is."""
    teacher = self.parts.teacher
    if teacher is None:
      return

    @jax.jit
    def run(variables, batch):
      batch = self.devices.split({**batch, 'image': to_float(batch['image'])})
      features, _ = teacher.apply(variables, batch['image'], train=False)
      return self.devices.gather((features, batch))

    # Methods compute with these outside jit, each process for itself.
    for batch in self._walk(data):
      found = self.devices.awaited(run(teacher_variables, batch))
      yield self._that_count(*self.devices.local(found))

  def judge(self, variables: tuple, batch: Batch) -> tuple[PyTree, jax.Array]:
    """The task's outputs and the embeddings of a batch, inside jit."""
    batch = self.devices.split(batch)
    student, method, teacher = variables
    features, logits = predict(
      student, method, teacher, to_float(batch['image']), parts=self.parts
    )
    outputs = self.parts.task.outputs(logits, batch)
    # NumPy's files know no bfloat16.
    embedding = features.embedding.astype(jnp.float32)
    return self.devices.gather((outputs, embedding))

  def look(self, variables: tuple, batch: Batch) -> PyTree:
    """What the method sees in a batch, inside jit."""
    batch = self.devices.split({**batch, 'image': to_float(batch['image'])})
    of_student, method, of_teacher = variables
    assert self.parts.teacher is not None
    images = batch['image']
    student = evaluation_pass(self.parts.student, of_student, images)
    # The teacher as the student sees it while it trains.
    drifts = self.parts.method.teacher_mode == 'train'
    teacher = evaluation_pass(
      self.parts.teacher, of_teacher, images, train=drifts
    )
    # Whole on each device from here on: a transport plan is found step by
    # step, and would talk to all devices in each.
    student, teacher, batch = self.devices.gather((student, teacher, batch))
    lines = self.parts.method.observe(method, student, teacher, batch)
    return self.devices.gather(lines)

  def _size(self, data: Batch) -> int:
    """Examples of an evaluation's batch, which the devices divide."""
    per_device = -(-_EVAL_BATCH // self.devices.count)
    return min(len(data['label']), per_device * self.devices.count)

  def _evaluate_batches(self, variables, data, batches):
    """The outputs of the first batches, in arrays for the whole set."""
    judge = functools.partial(self.judge, variables)
    return over_batches(judge, data, self._size(data), batches)

  def _look_at(self, variables, data, count):
    """What the method sees in the first images of a set."""
    return self.look(variables, jax.tree.map(lambda array: array[:count], data))

  def _walk(self, data: Any) -> Iterator[Batch]:
    """A set once, in order, on the devices."""
    data = self.devices.local(data)
    for start in range(0, len(data['label']), self.batch_size):
      rows = slice(start, start + self.batch_size)
      yield self.devices.replicate(
        jax.tree.map(lambda array, rows=rows: array[rows], data)
      )

  def _that_count(
    self, features: Features, batch: Batch
  ) -> tuple[Features, Batch]:
    """Of a walk's batch the rows that are images of the set: all of them."""
    return features, batch


def state_variables(state: TrainState, teacher_variables: PyTree) -> tuple:
  """Of the student, the method and the teacher, for a pass."""
  return state.student_variables, state.method_variables, teacher_variables
