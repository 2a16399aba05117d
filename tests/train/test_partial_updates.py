"""Parameters that sit out a step, against PyTorch's rule for `grad = None`."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kdjax.train import Recipe
from kdjax.train.partial_updates import partial_updates

PARAMS = {
  'a': jnp.array([1.0, -2.0]),
  'b': {'x': jnp.array(3.0), 'y': jnp.array([[0.5]])},
}
OPTIMIZERS = {
  'recipe': Recipe(nesterov=True).optimizer(steps_per_epoch=1),
  'no momentum': Recipe(momentum=0.0).optimizer(steps_per_epoch=1),
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
def test_with_all_taking_part_it_is_the_optimiser_itself(name):
  inner = OPTIMIZERS[name]
  plain = _run(inner, [None] * 3)
  all_of_them = {'a': jnp.array(True), 'b': {'x': True, 'y': jnp.array(True)}}
  for active in (None, True, all_of_them):
    chex.assert_trees_all_equal(
      _run(partial_updates(inner), [active] * 3), plain
    )


@pytest.mark.parametrize('name', OPTIMIZERS)
def test_what_sits_out_keeps_its_value_and_its_state(name):
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


def test_sitting_out_may_be_decided_while_running():
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


def test_momentum_goes_on_where_it_stopped():
  # v = g; skipped; v = 0.9 v + g: worked by hand, rate 0.1, no decay.
  recipe = Recipe(learning_rate=0.1, weight_decay=0.0, decay_at=())
  optimizer = partial_updates(recipe.optimizer(1))
  params = {'w': jnp.array(0.0)}
  state = optimizer.init(params)
  for gradient, active in ((1.0, True), (5.0, False), (2.0, True)):
    updates, state = optimizer.update(
      {'w': jnp.array(gradient)}, state, params, active={'w': active}
    )
    params = optax.apply_updates(params, updates)
  np.testing.assert_allclose(params['w'], -0.1 * (1 + 0.9 + 2), rtol=1e-6)
