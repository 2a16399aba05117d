"""Passes of a step's networks, as methods see them."""

from typing import Any

import jax

from kdjax.data import Augmentation
from kdjax.features import Features
from kdjax.methods import Pass
from kdjax.network import Network
from kdjax.train.parts import Batch, Parts
from kdjax.train.state import TrainState
from kdjax.train.teacher_table import as_features, look_up
from kdjax.typing import PyTree


def predict(
  student_variables: PyTree,
  method_variables: dict[str, PyTree],
  teacher_variables: PyTree,
  images: jax.Array,
  *,
  parts: Parts,
) -> tuple[Features, jax.Array]:
  """The student's features and its logits at evaluation; images in [0, 1]."""
  student = evaluation_pass(parts.student, student_variables, images)
  teacher = None
  if parts.teacher is not None:
    teacher = evaluation_pass(parts.teacher, teacher_variables, images)
  student = parts.method.predicting(method_variables, student, teacher)
  return student.features, student.features.logits


def evaluation_pass(
  network: Network, variables: PyTree, images: jax.Array, *, train: bool = False
) -> Pass:
  """A pass over images in [0, 1] that trains nothing.

  Args:
    network: Which.
    variables: The network's.
    images: `[B, H, W, C]`.
    train: Whether to normalise with the batch; the running statistics are left
      alone either way.
  """
  features, _ = network.apply(variables, images, train=train)
  return make_pass(network, variables, features, train=train)


def make_pass(
  network: Network, variables: PyTree, features: Features, *, train: bool
) -> Pass:
  """The features of a pass, with the way back into the network."""

  def run_tail(variables: PyTree, hidden: jax.Array, start: int) -> Features:
    # The statistics belong to the network's own path: a borrowed stage
    # normalises in the same mode and throws its update away.
    return network.tail(variables, hidden, start, train=train)[0]

  return Pass(
    features=features,
    variables=variables,
    run_tail=run_tail,
    run_head=network.head,
    has_head=network.forward_head is not None,
    boundary=network.boundary,
  )


def teacher_pass(
  state: TrainState,
  teacher_variables: PyTree,
  batch: Batch,
  augment_key: jax.Array,
  parts: Parts,
) -> tuple[Any, PyTree]:
  """The teacher's pass over a step's batch, and its statistics afterwards.

  Args:
    state: With its statistics before, where the method lets these drift.
    teacher_variables: As `train_step` takes them.
    batch: With the images as the networks see them.
    augment_key: What their views were drawn by.
    parts: With the teacher.
  """
  if parts.teacher is None:
    return None, state.teacher_stats
  features = _looked_up(teacher_variables, batch, augment_key, parts)
  if features is not None:
    teacher = make_pass(parts.teacher, teacher_variables, features, train=False)
    return teacher, state.teacher_stats
  drifts = parts.method.teacher_mode == 'train'
  if drifts:
    teacher_variables = {
      **teacher_variables,
      'batch_stats': state.teacher_stats,
    }
  features, stats = parts.teacher.apply(
    teacher_variables, batch['image'], train=drifts
  )
  teacher = make_pass(parts.teacher, teacher_variables, features, train=drifts)
  return teacher, stats if drifts else state.teacher_stats


def _looked_up(
  teacher_variables: PyTree, batch: Batch, augment_key: jax.Array, parts: Parts
) -> Features | None:
  """What the teacher gave of this batch before; `None` if it has to be run."""
  if 'teacher' in batch:
    return as_features(batch['teacher'])
  if 'table' not in teacher_variables:
    return None
  assert isinstance(parts.augment, Augmentation)
  views = parts.augment.draw(augment_key, len(batch['index']))
  return look_up(teacher_variables['table'], batch['index'], views)
