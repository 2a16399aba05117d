"""Inactive parameters as in PyTorch, resets and learning rates."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kdjax.methods import Supervised
from kdjax.train import Recipe
from kdjax.train.optimizer import (
  learning_rate_of,
  partial_updates,
  reset_at,
  scale_learning_rate,
  skip_zero_gradients,
)
from tests.train import support

PARAMS = {
  'a': jnp.array([1.0, -2.0]),
  'b': {'x': jnp.array(3.0), 'y': jnp.array([[0.5]])},
}


def _optimizer_of(recipe, method=None):
  return recipe.optimizer(1, support.network(), method or Supervised())


OPTIMIZERS = {
  'recipe': _optimizer_of(Recipe(nesterov=True)),
  'no momentum': _optimizer_of(Recipe(momentum=0.0)),
  'adam': optax.adamw(1e-2),
}


def _gradients(step):
  return jax.tree.map(lambda leaf: jnp.cos(leaf + step), PARAMS)


def _run(optimizer, actives):
  params, state = PARAMS, optimizer.init(PARAMS)
  for step, active in enumerate(actives):
    extra = {} if active is None else {'active': active}
    updates, state = optimizer.update(_gradients(step), state, params, **extra)
    params = optax.apply_updates(params, updates)
  return params, state


@pytest.mark.parametrize('name', OPTIMIZERS)
def test_all_active_updates_match_the_optimizer(name):
  inner = OPTIMIZERS[name]
  plain = _run(inner, [None] * 3)
  all_of_them = {'a': jnp.array(True), 'b': {'x': True, 'y': jnp.array(True)}}
  for active in (None, True, all_of_them):
    chex.assert_trees_all_equal(
      _run(partial_updates(inner), [active] * 3), plain
    )


@pytest.mark.parametrize('name', OPTIMIZERS)
def test_inactive_parameters_keep_value_and_state(name):
  optimizer = partial_updates(OPTIMIZERS[name])
  before = _run(optimizer, [None] * 2)
  after = _run(optimizer, [None, None, {'a': True, 'b': {'x': 0, 'y': False}}])
  chex.assert_trees_all_equal(after[0]['b'], before[0]['b'])
  assert np.all(np.asarray(after[0]['a']) != np.asarray(before[0]['a']))
  kept = optax.tree.map_params(
    optimizer, lambda leaf: leaf, before[1], transform_non_params=lambda _: None
  )
  now = optax.tree.map_params(
    optimizer, lambda leaf: leaf, after[1], transform_non_params=lambda _: None
  )
  for old, new in zip(jax.tree.leaves(kept), jax.tree.leaves(now)):
    if old.shape != PARAMS['a'].shape:  # those of `b`
      np.testing.assert_array_equal(new, old)


def test_activity_may_be_a_traced_value():
  optimizer = partial_updates(OPTIMIZERS['recipe'])
  state = optimizer.init(PARAMS)

  @jax.jit
  def update(active):
    return optimizer.update(
      _gradients(0), state, PARAMS, active={'a': active, 'b': True}
    )[0]

  assert not np.any(update(jnp.array(False))['a'])
  chex.assert_trees_all_close(
    update(jnp.array(True)), optimizer.update(_gradients(0), state, PARAMS)[0]
  )


def test_weights_of_any_rank_are_decayed():
  # Kernels, biases, norms and scalars, as PyTorch's SGD does.
  params = {
    f'rank_{rank}': jnp.full((2,) * rank, 3.0 - rank) for rank in range(3)
  }
  optimizer = _optimizer_of(
    Recipe(learning_rate=0.1, weight_decay=0.25, decay_at=())
  )
  gradients = jax.tree.map(jnp.ones_like, params)
  changes, _ = optimizer.update(gradients, optimizer.init(params), params)
  for name, value in params.items():
    np.testing.assert_allclose(
      changes[name], -0.1 * (1 + 0.25 * value), rtol=1e-6
    )


def test_momentum_resumes_after_inactive_steps():
  # v = g; skipped; v = 0.9 v + g: worked by hand, rate 0.1, no decay.
  recipe = Recipe(learning_rate=0.1, weight_decay=0.0, decay_at=())
  optimizer = partial_updates(_optimizer_of(recipe))
  params = {'w': jnp.array(0.0)}
  state = optimizer.init(params)
  for gradient, active in ((1.0, True), (5.0, False), (2.0, True)):
    updates, state = optimizer.update(
      {'w': jnp.array(gradient)}, state, params, active={'w': active}
    )
    params = optax.apply_updates(params, updates)
  np.testing.assert_allclose(params['w'], -0.1 * (1 + 0.9 + 2), rtol=1e-6)


# One parameter, momentum 0.9, rate 0.1: the change is -0.1 v.
MOMENTUM = optax.sgd(0.1, momentum=0.9)


def _changes(optimizer, gradients, actives=None):
  """Returns the change of a parameter in each step."""
  params, changes = {'w': jnp.float32(0.0)}, []
  state = optimizer.init(params)
  for step, gradient in enumerate(gradients):
    extra = {} if actives is None else {'active': {'w': actives[step]}}
    update, state = optimizer.update(
      {'w': jnp.float32(gradient)}, state, params, **extra
    )
    params = optax.apply_updates(params, update)
    changes.append(float(update['w']))
  return changes


def test_momentum_is_reset_at_stage_starts():
  # v: 1, 1.9; reset: 1, 1.9; reset: 1.
  changes = _changes(reset_at(MOMENTUM, (2, 4)), [1.0] * 5)
  np.testing.assert_allclose(
    changes, [-0.1, -0.19, -0.1, -0.19, -0.1], rtol=1e-6
  )
  assert reset_at(MOMENTUM, ()) is MOMENTUM


def test_momentum_of_inactive_parameters_is_reset_as_well():
  # v: 1, 1.9; the stage starts without it; then 1, not 0.9 · 1.9 + 1.
  optimizer = partial_updates(reset_at(MOMENTUM, (2,)))
  actives = [True, True, jnp.array(False), True]
  changes = _changes(optimizer, [1.0] * 4, actives)
  np.testing.assert_allclose(changes, [-0.1, -0.19, 0.0, -0.1], rtol=1e-6)


def test_zero_gradients_are_skipped_in_early_steps_only():
  # v: 1; skipped; 0.9 + 1; then it changes by momentum only.
  changes = _changes(skip_zero_gradients(MOMENTUM, 3), [1.0, 0.0, 1.0, 0.0])
  np.testing.assert_allclose(changes, [-0.1, 0.0, -0.19, -0.171], rtol=1e-6)


def test_scaled_learning_rate_applies_to_every_step():
  params = {'w': jnp.float32(1.0)}
  recipe = Recipe(learning_rate=0.5, decay_at=(), weight_decay=0.0)
  optimizer = _optimizer_of(recipe)
  state = scale_learning_rate(optimizer.init(params), 0.2)
  for _ in range(2):
    update, state = optimizer.update({'w': jnp.float32(1.0)}, state, params)
    assert learning_rate_of(state) == pytest.approx(0.1)
  assert float(update['w']) == pytest.approx(-0.1 * 1.9)


def test_learning_rate_of_other_optimizers_is_none():
  assert learning_rate_of(MOMENTUM.init({'w': jnp.float32(1.0)})) is None
