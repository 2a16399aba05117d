"""What a step is made of, and the state before the first one."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from kdjax.methods import Method
from kdjax.network import Network
from kdjax.tasks import Task
from kdjax.train.averaging import empty_sum
from kdjax.train.state import TrainState
from kdjax.typing import PyTree

Batch = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parts:
  """What a step is made of; nothing in it changes while training.

  Attributes:
    student: The network that is trained.
    teacher: The network it learns from; `None` where the method needs none.
    method: The distillation method.
    task: The supervised task.
    augment: `(key, uint8 images) -> float32 images in [0, 1]`; both networks
      see the same view.
    optimizer: Of the student's and the method's parameters together.
    steps_per_epoch: A smaller last batch counted.
    ema_decay: Of the averaged parameters, if any are kept.
    snapshots: Whether the weights of some epochs are summed; see
      `kdjax.train.averaging`.
    align_steps: How many come first in which the student stands still.
    align_factor: Of the method's terms in these.
  """

  student: Network
  teacher: Network | None
  method: Method
  task: Task
  augment: Callable[[jax.Array, jax.Array], jax.Array]
  optimizer: optax.GradientTransformation
  steps_per_epoch: int
  ema_decay: float | None = None
  snapshots: bool = False
  align_steps: int = 0
  align_factor: float = 1.0


def init_state(
  parts: Parts,
  key: jax.Array,
  image_shape: tuple[int, ...],
  batch_size: int,
  teacher_variables: PyTree,
) -> TrainState:
  """The state before the first step.

  The student's weights depend on `key` alone, so that every method of a
  comparison starts from the same ones.

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
    teacher_stats=_copy(teacher_variables['batch_stats']) if drifts else {},
    method_state=method_variables['state'],
    # At once: one by one, each shape of zeros is a program to compile.
    opt_state=jax.jit(parts.optimizer.init)(params),
    ema=_copy(params) if parts.ema_decay is not None else {},
    snapshots=(
      empty_sum(params, variables['batch_stats']) if parts.snapshots else {}
    ),
    key=jax.random.fold_in(key, 2),
  )


def _copy(tree):
  """A copy that shares no buffer, so that donating one keeps the other."""
  return jax.tree.map(jnp.array, tree)
