"""One update, pure, the same for every method and every task."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from kdjax.methods import Context, Updates
from kdjax.methods.base import Terms
from kdjax.methods.schedules import value_at
from kdjax.train.forward import make_pass, teacher_pass
from kdjax.train.numbers import with_numbers
from kdjax.train.partial_updates import partial_updates
from kdjax.train.parts import Batch, Parts
from kdjax.train.stages import staged_terms, without_momentum
from kdjax.train.state import TrainState
from kdjax.typing import PyTree


class _Found(NamedTuple):
  """What a step finds on its way to the loss."""

  terms: Terms
  updates: Updates
  batch_stats: PyTree
  logits: jax.Array


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
  teacher, teacher_stats = teacher_pass(
    state, teacher_variables, batch, augment_key, parts
  )

  objective = _objective(state, teacher, batch, context, parts)
  (loss, found), gradients = jax.value_and_grad(objective, has_aux=True)(
    state.params
  )
  moved = _moved(state, gradients, found, parts)
  outputs = parts.task.outputs(found.logits, batch)
  metrics = {
    **{
      f'outputs/{name}': rows.astype(jnp.float32).mean()
      for name, rows in outputs.items()
      if rows.ndim == 1
    },
    **{f'terms/{name}': term for name, term in found.terms.items()},
    'loss': loss,
    'grad_norm': optax.tree.norm(gradients),
  }
  return dataclasses.replace(moved, teacher_stats=teacher_stats), metrics


def step_keys(
  key: jax.Array, step: jax.typing.ArrayLike
) -> tuple[jax.Array, jax.Array]:
  """A step's keys: of the augmentation and of the method."""
  augment_key, method_key = jax.random.split(jax.random.fold_in(key, step))
  return augment_key, method_key


def _objective(
  state: TrainState,
  teacher: Any,  # a pass; None where the method needs none
  batch: Batch,
  context: Context,
  parts: Parts,
) -> Callable[[PyTree], tuple[jax.Array, _Found]]:
  """What is minimised: the parameters to the loss and what was found."""
  method = parts.method

  def objective(params):
    variables = {'params': params['student'], 'batch_stats': state.batch_stats}
    features, batch_stats = parts.student.apply(
      variables, batch['image'], train=True
    )
    # So that the gradients of all losses meet in full precision.
    features = dataclasses.replace(features, logits=_wide(features.logits))
    own = {'params': params['method'], 'state': state.method_state}
    student = make_pass(parts.student, variables, features, train=True)
    student = method.predicting(own, student, teacher)
    logits = student.features.logits
    task_weight = value_at(method.task_weight, context.epoch)
    task = task_weight * parts.task.loss(logits, batch).mean()
    terms, updates = method.terms(own, student, teacher, batch, context)
    terms = staged_terms(
      {'task': task, **terms},
      state.step,
      parts.align_steps,
      parts.align_factor,
    )
    loss = functools.reduce(jnp.add, terms.values())
    return loss, _Found(terms, updates, batch_stats, logits)

  return objective


def _moved(
  state: TrainState, gradients: PyTree, found: _Found, parts: Parts
) -> TrainState:
  """The state after the optimiser's step."""
  changes, opt_state = partial_updates(parts.optimizer).update(
    gradients,
    without_momentum(state.opt_state, state.step, parts.align_steps),
    state.params,
    active=_active(parts, found.updates, state, gradients),
  )
  params: PyTree = optax.apply_updates(state.params, changes)
  ema = state.ema
  if parts.ema_decay is not None:
    ema = optax.incremental_update(params, ema, 1 - parts.ema_decay)
  method_state = found.updates.state
  return dataclasses.replace(
    state,
    step=state.step + 1,
    params=params,
    batch_stats=found.batch_stats,
    method_state=state.method_state if method_state is None else method_state,
    opt_state=opt_state,
    ema=ema,
  )


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
