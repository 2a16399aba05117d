"""One update, pure, the same for every method and every task."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from kdjax.data import Augmentation
from kdjax.features import Features
from kdjax.methods import Context, Method, Pass, Updates
from kdjax.methods.schedules import value_at
from kdjax.models.network import Network
from kdjax.tasks import Task
from kdjax.train.averaging import empty_sum
from kdjax.train.numbers import with_numbers
from kdjax.train.partial_updates import partial_updates
from kdjax.train.staging import staged_terms, without_momentum
from kdjax.train.state import TrainState
from kdjax.train.teacher_table import as_features, look_up

PyTree = Any
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


def train_step(
  state: TrainState, teacher_variables: PyTree, batch: Batch, *, parts: Parts
) -> tuple[TrainState, dict[str, jax.Array]]:
  """One update.

  Args:
    state: The state before it.
    teacher_variables: The frozen teacher's; an empty tree without one. With a
      `table` of its outputs they are looked up, see `teacher_table`.
    batch: `image` uint8 `[B, H, W, C]`, `label`, and `index` int32 `[B]`, the
      examples' places in the training set; `teacher`, its outputs on what the
      step will see of these, if they have been looked up before.
    parts: What the step is made of.

  Returns:
    The state after it, and float32 scalars: `loss`, what was minimised; each
    weighted term of it under `terms/`; `grad_norm`; and the means of the task's
    outputs on this batch that are one number per example.
  """
  parts = with_numbers(parts, state.numbers)
  augment_key, method_key = step_keys(state.key, state.step)
  batch = {**batch, 'image': parts.augment(augment_key, batch['image'])}
  context = Context(
    step=state.step,
    epoch=(state.step // parts.steps_per_epoch).astype(jnp.float32),
    key=method_key,
  )
  teacher, teacher_stats = _teacher_pass(
    state, teacher_variables, batch, augment_key, parts
  )

  def objective(params):
    variables = {'params': params['student'], 'batch_stats': state.batch_stats}
    features, batch_stats = parts.student.apply(
      variables, batch['image'], train=True
    )
    # So that the gradients of all losses meet in full precision.
    features = dataclasses.replace(features, logits=_wide(features.logits))
    own = {'params': params['method'], 'state': state.method_state}
    student = make_pass(parts.student, variables, features, train=True)
    student = parts.method.predicting(own, student, teacher)
    logits = student.features.logits
    terms = {
      'task': value_at(parts.method.task_weight, context.epoch)
      * parts.task.loss(logits, batch).mean()
    }
    method_terms, updates = parts.method.terms(
      own, student, teacher, batch, context
    )
    terms = staged_terms(
      {**terms, **method_terms},
      state.step,
      parts.align_steps,
      parts.align_factor,
    )
    loss = functools.reduce(jnp.add, terms.values())
    return loss, (terms, updates, batch_stats, logits)

  (loss, (terms, updates, batch_stats, logits)), gradients = jax.value_and_grad(
    objective, has_aux=True
  )(state.params)
  active = _active(parts, updates, state, gradients)
  changes, opt_state = partial_updates(parts.optimizer).update(
    gradients,
    without_momentum(state.opt_state, state.step, parts.align_steps),
    state.params,
    active=active,
  )
  params: PyTree = optax.apply_updates(state.params, changes)
  ema = state.ema
  if parts.ema_decay is not None:
    ema = optax.incremental_update(params, ema, 1 - parts.ema_decay)
  outputs = parts.task.outputs(logits, batch)
  return dataclasses.replace(
    state,
    step=state.step + 1,
    params=params,
    batch_stats=batch_stats,
    teacher_stats=teacher_stats,
    method_state=(
      state.method_state if updates.state is None else updates.state
    ),
    opt_state=opt_state,
    ema=ema,
  ), {
    **{
      f'outputs/{k}': v.astype(jnp.float32).mean()
      for k, v in outputs.items()
      if v.ndim == 1
    },
    **{f'terms/{name}': term for name, term in terms.items()},
    'loss': loss,
    'grad_norm': optax.tree.norm(gradients),
  }


def step_keys(
  key: jax.Array, step: jax.typing.ArrayLike
) -> tuple[jax.Array, jax.Array]:
  """A step's keys: of the augmentation and of the method."""
  augment_key, method_key = jax.random.split(jax.random.fold_in(key, step))
  return augment_key, method_key


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


def _teacher_pass(
  state: TrainState,
  teacher_variables: PyTree,
  batch: Batch,
  augment_key: jax.Array,
  parts: Parts,
) -> tuple[Any, PyTree]:
  """The teacher's pass, and its statistics afterwards."""
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


def _active(
  parts: Parts, updates: Updates, state: TrainState, gradients: PyTree
) -> PyTree:
  """Which parameters take part in a step, as `partial_updates` asks."""
  if updates.student == 'body':
    own = parts.student.is_body(state.params['student'])
  else:
    own = updates.student == 'all'
  method = True if updates.active is None else updates.active
  if not parts.align_steps:
    return {'student': own, 'method': method}
  moves = state.step >= parts.align_steps
  # What the task alone trains has no gradient while the student stands still.
  method = jax.tree.map(
    lambda on, below: jax.tree.map(
      lambda gradient: on & (moves | jnp.any(gradient != 0)), below
    ),
    method,
    gradients['method'],
  )
  return {'student': jax.tree.map(lambda on: on & moves, own), 'method': method}


def _wide(array: jax.Array) -> jax.Array:
  """Float32 at least."""
  return array.astype(jnp.promote_types(array.dtype, jnp.float32))


def _copy(tree):
  """A copy that shares no buffer, so that donating one keeps the other."""
  return jax.tree.map(jnp.array, tree)
