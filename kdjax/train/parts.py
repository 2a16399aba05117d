"""Parts of a training step, and the state before the first one."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from kdjax.methods import Method
from kdjax.methods.base import TrainSpec
from kdjax.network import Network
from kdjax.tasks import Task
from kdjax.train.state import TrainState
from kdjax.typing import Batch, PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parts:
  """Parts of a training step; none of them changes while training.

  Attributes:
    student: The network that is trained.
    teacher: The network it learns from; `None` if the method needs none.
    method: The distillation method.
    task: The supervised task.
    augment: `(key, batch) -> batch`: uint8 images to float32 images in [0, 1],
      and labels that must follow them. Both networks see the result.
    optimizer: Any optax transformation, of the student's and the method's
      parameters together.
    steps_per_epoch: Number of steps, a smaller last batch included.
  """

  student: Network
  teacher: Network | None
  method: Method
  task: Task
  augment: Callable[[jax.Array, Batch], Batch]
  optimizer: optax.GradientTransformation
  steps_per_epoch: int


def init_state(
  parts: Parts,
  key: jax.Array,
  image_shape: tuple[int, ...],
  batch_size: int,
  teacher_variables: PyTree,
  data: TrainSpec,
) -> TrainState:
  """Returns the state before the first step.

  The student's weights depend on `key` alone, so that all methods of a
  comparison start from the same ones.

  Args:
    parts: Parts of the step.
    key: Random key of the run.
    image_shape: Height, width and channels.
    batch_size: Examples per step, over all devices.
    teacher_variables: Variables of the teacher; empty without one.
    data: The training data, for the method.

  Raises:
    ValueError: If the method cannot serve this pair of networks.
  """
  variables = parts.student.initialize(jax.random.fold_in(key, 0), image_shape)
  method_variables = {'params': {}, 'state': {}}
  if parts.teacher is not None:
    method_variables = parts.method.init(
      jax.random.fold_in(key, 1),
      parts.student.describe(image_shape, batch_size),
      parts.teacher.describe(image_shape, batch_size),
      data,
    )
  params = {
    'student': variables['params'],
    'method': method_variables['params'],
  }
  drifts = parts.method.teacher_mode == 'train'
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    batch_stats=variables['batch_stats'],
    teacher_stats=copy(teacher_variables['batch_stats']) if drifts else {},
    method_state=method_variables['state'],
    # In one program: one by one, each shape of zeros would be compiled.
    opt_state=jax.jit(parts.optimizer.init)(params),
    key=jax.random.fold_in(key, 2),
  )


def copy(tree: PyTree) -> PyTree:
  """Returns a copy that shares no buffer, so that both can be donated."""
  return jax.tree.map(jnp.array, tree)
