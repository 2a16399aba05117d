"""Passes of a step's networks, as methods see them."""

from typing import Any

import jax

from kdjax.methods.passes import Pass
from kdjax.network import RANDOM, Network
from kdjax.train.parts import Parts
from kdjax.train.state import TrainState
from kdjax.typing import Batch, PyTree, Variables

_DROPOUT = 0x6470  # keeps dropout's key apart from those of methods


def predict(
  student_variables: PyTree,
  method_variables: Variables,
  teacher_variables: PyTree,
  images: jax.Array,
  *,
  parts: Parts,
) -> Any:
  """Returns the features of the student as it is evaluated.

  Args:
    student_variables: Variables of the student.
    method_variables: Variables of the method.
    teacher_variables: Variables of the teacher; empty without one.
    images: Float32 `[B, H, W, C]` in [0, 1].
    parts: Parts of the step.
  """
  student = evaluation_pass(parts.student, student_variables, images)
  teacher = None
  if parts.teacher is not None:
    teacher = evaluation_pass(parts.teacher, teacher_variables, images)
  predicting, _ = parts.method.predicting(method_variables, student, teacher)
  return predicting.features


def with_random_key(variables: PyTree, key: jax.Array) -> PyTree:
  """Returns variables with the key that dropout draws from in training mode.

  Args:
    variables: Variables of a network.
    key: Random key of the step.
  """
  return {**variables, RANDOM: {'dropout': jax.random.fold_in(key, _DROPOUT)}}


def evaluation_pass(
  network: Network, variables: PyTree, images: jax.Array, *, train: bool = False
) -> Pass:
  """Returns a pass that trains nothing.

  Args:
    network: The network.
    variables: Its variables.
    images: Float32 `[B, H, W, C]` in [0, 1].
    train: Whether to normalize with the batch; running statistics are not
      updated either way.
  """
  if train:  # one mask for all batches
    variables = with_random_key(variables, jax.random.key(0))
  features, _ = network.apply(variables, images, train=train)
  return make_pass(network, variables, features, train=train)


def make_pass(
  network: Network, variables: PyTree, features: Any, *, train: bool
) -> Pass:
  """Returns the pass of a network that computed these features."""

  def run_tail(variables: PyTree, hidden: jax.Array, start: int) -> Any:
    # Running statistics belong to the network's own path: a stage that is run
    # on other features normalizes in the same mode and drops its update.
    return network.tail(variables, hidden, start, train=train)[0]

  return Pass(
    features=features,
    variables=variables,
    run_tail=run_tail,
    run_head=network.head,
    has_head=network.forward_head is not None,
    boundary=network.boundary,
    train=train,
  )


def teacher_pass(
  state: TrainState,
  teacher_variables: PyTree,
  batch: Batch,
  key: jax.Array,
  parts: Parts,
) -> tuple[Any, PyTree]:
  """Runs the teacher on a step's batch.

  Args:
    state: State of training, with the teacher's running statistics if the
      method lets them change.
    teacher_variables: Variables of the teacher.
    batch: Batch with the images as the networks see them.
    key: Random key of the step.
    parts: Parts of the step.

  Returns:
    The teacher's pass, `None` without a teacher, and its new running
    statistics for the state.
  """
  if parts.teacher is None:
    return None, state.teacher_stats
  drifts = parts.method.teacher_mode == 'train'
  if drifts:
    teacher_variables = {
      **teacher_variables,
      'batch_stats': state.teacher_stats,
    }
    teacher_variables = with_random_key(teacher_variables, key)
  features, stats = parts.teacher.apply(
    teacher_variables, batch['image'], train=drifts
  )
  teacher = make_pass(parts.teacher, teacher_variables, features, train=drifts)
  return teacher, stats if drifts else state.teacher_stats
