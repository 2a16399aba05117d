"""One training step: pure, and the same for every method and task."""

# The types of jax and optax are partially unknown.
# pyright: reportUnknownMemberType=false, reportMissingTypeStubs=false

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from kdjax.methods import Context, Updates
from kdjax.methods.schedules import value_at
from kdjax.methods.settings import with_settings
from kdjax.train.forward import make_pass, teacher_pass, with_random_key
from kdjax.train.optimizer import partial_updates
from kdjax.train.parts import Parts
from kdjax.train.state import Frozen, TrainState
from kdjax.typing import Batch, PyTree, Terms

Metrics = dict[str, jax.Array]
# A training step with everything wrapped around it.
Step = Callable[[TrainState, Frozen, Batch], tuple[TrainState, Metrics]]


class _Forward(NamedTuple):
  """Results of the forward pass besides the loss."""

  terms: Terms
  updates: Updates
  method_state: PyTree
  batch_stats: PyTree
  features: Any


def train_step(
  state: TrainState, teacher_variables: PyTree, batch: Batch, *, parts: Parts
) -> tuple[TrainState, Metrics]:
  """Computes one update.

  Args:
    state: State before the step.
    teacher_variables: Variables of the frozen teacher; empty without one.
    batch: `image` uint8 `[B, H, W, C]`, `label`, and `index` int32 `[B]`, the
      rows of the examples in the training data.
    parts: Parts of the step.

  Returns:
    The state after the step, and float32 scalars: `loss`, the objective;
    each weighted term of it under `terms/`; `grad_norm`; and under `outputs/`
    the batch means of the task's outputs that are one number per example.
  """
  augment_key, method_key = step_keys(state.key, state.step)
  batch = parts.augment(augment_key, batch)
  context = Context(
    step=state.step,
    epoch=(state.step // parts.steps_per_epoch).astype(jnp.float32),
    key=method_key,
  )
  teacher, teacher_stats = teacher_pass(
    state, teacher_variables, batch, context.key, parts
  )
  loss_fn = _loss_function(state, teacher, batch, context, parts)
  (loss, forward), gradients = jax.value_and_grad(loss_fn, has_aux=True)(
    state.params
  )
  params, opt_state = _apply_gradients(state, gradients, forward.updates, parts)
  new_state = dataclasses.replace(
    state,
    step=state.step + 1,
    params=params,
    batch_stats=forward.batch_stats,
    teacher_stats=teacher_stats,
    method_state=forward.method_state,
    opt_state=opt_state,
  )
  return new_state, {
    **_output_means(parts, forward.features, batch),
    **{f'terms/{name}': term for name, term in forward.terms.items()},
    'loss': loss,
    'grad_norm': optax.tree.norm(gradients),
  }


def make_step(parts: Parts) -> Step:
  """Returns the training step of some parts with swept settings."""

  def step(
    state: TrainState, frozen: Frozen, batch: Batch
  ) -> tuple[TrainState, Metrics]:
    method = with_settings(parts.method, frozen.settings)
    swept = dataclasses.replace(parts, method=method)
    return train_step(state, frozen.teacher, batch, parts=swept)

  return step


def step_keys(
  key: jax.Array, step: jax.typing.ArrayLike
) -> tuple[jax.Array, jax.Array]:
  """Returns the random keys of a step: of the augmentation, of the method."""
  augment_key, method_key = jax.random.split(jax.random.fold_in(key, step))
  return augment_key, method_key


def _loss_function(
  state: TrainState,
  teacher: Any,  # a `Pass`, or `None` without a teacher
  batch: Batch,
  context: Context,
  parts: Parts,
) -> Callable[[PyTree], tuple[jax.Array, _Forward]]:
  """Returns the function from parameters to the loss that is minimized."""
  method = parts.method

  def loss_function(params: PyTree) -> tuple[jax.Array, _Forward]:
    variables = with_random_key(
      {'params': params['student'], 'batch_stats': state.batch_stats},
      context.key,
    )
    features, batch_stats = parts.student.apply(
      variables, batch['image'], train=True
    )
    # The gradients of all losses are added in full precision.
    features = features.with_outputs(jax.tree.map(_widen, features.outputs))
    own = {'params': params['method'], 'state': state.method_state}
    student = make_pass(parts.student, variables, features, train=True)
    student, predictor_state = method.predicting(own, student, teacher)
    if predictor_state is not None:
      own = {**own, 'state': predictor_state}
    task_weight = value_at(method.task_weight, context.epoch)
    task = task_weight * parts.task.loss(student.features, batch).mean()
    terms, updates = method.terms(own, student, teacher, batch, context)
    terms = {'task': task, **terms}
    loss = functools.reduce(jnp.add, terms.values())
    method_state = own['state'] if updates.state is None else updates.state
    return loss, _Forward(
      terms, updates, method_state, batch_stats, student.features
    )

  return loss_function


def _apply_gradients(
  state: TrainState, gradients: PyTree, updates: Updates, parts: Parts
) -> tuple[PyTree, optax.OptState]:
  """Returns the new parameters and the new state of the optimizer."""
  changes, opt_state = partial_updates(parts.optimizer).update(
    gradients,
    state.opt_state,
    state.params,
    active=_active(parts, updates, state),
  )
  return optax.apply_updates(state.params, changes), opt_state


def _active(parts: Parts, updates: Updates, state: TrainState) -> PyTree:
  """Returns which parameters are active in a step, as a tree prefix."""
  student: PyTree = updates.student_active
  if updates.student == 'body':
    body = parts.student.is_body(state.params['student'])
    student = jax.tree.map(_both(updates.student_active), body)
  method = True if updates.active is None else updates.active
  return {'student': student, 'method': method}


def _both(active: jax.Array | bool) -> Callable[[bool], jax.Array | bool]:
  """Returns a function that is `active` for chosen parameters, else False."""
  return lambda chosen: active if chosen else False


def _output_means(parts: Parts, features: Any, batch: Batch) -> Metrics:
  outputs = parts.task.outputs(features, batch)
  return {
    f'outputs/{name}': rows.astype(jnp.float32).mean()
    for name, rows in outputs.items()
    if rows.ndim == 1
  }


def _widen(array: jax.Array) -> jax.Array:
  """Returns the array in at least float32."""
  return array.astype(jnp.promote_types(array.dtype, jnp.float32))
