"""A chosen branch is the function itself; otherwise it is zero."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.methods.sampled import if_chosen

OPERANDS = {'x': jnp.array([0.3, -1.2, 2.0]), 'w': {'k': jnp.array(0.7)}}
FACTOR = jnp.array(1.5)


def _branch(operands):
  value = jnp.sum(jnp.sin(operands['x']) * operands['w']['k']) * FACTOR
  return value, {'seen': 2 * operands['x']}


def _loss(operands, chosen):
  value, rest = if_chosen(chosen, _branch, operands, {'seen': jnp.zeros(3)})
  # The value is differentiated through; the rest has no gradient.
  return jnp.exp(value) + jnp.sum(rest['seen']), rest


def _plain(operands):
  return jnp.exp(_branch(operands)[0])


@pytest.mark.parametrize('known', [True, False])
def test_chosen_branch_has_the_value_and_gradient_of_the_function(known):
  chosen = True if known else jnp.array(True)
  run = jax.value_and_grad(_loss, has_aux=True)
  if not known:
    run = jax.jit(run)
  (value, rest), gradient = run(OPERANDS, chosen)
  np.testing.assert_array_equal(rest['seen'], 2 * OPERANDS['x'])
  assert float(value - rest['seen'].sum()) == pytest.approx(
    float(_plain(OPERANDS)), rel=1e-6
  )
  chex.assert_trees_all_close(gradient, jax.grad(_plain)(OPERANDS), rtol=1e-6)


@pytest.mark.parametrize('known', [True, False])
def test_other_branch_has_zero_value_and_gradient(known):
  chosen = False if known else jnp.array(False)
  (value, rest), gradient = jax.value_and_grad(_loss, has_aux=True)(
    OPERANDS, chosen
  )
  assert float(value) == 1.0  # exp(0)
  np.testing.assert_array_equal(rest['seen'], np.zeros(3))
  assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradient))


def test_compiled_program_has_one_conditional():
  run = jax.jit(jax.grad(_loss, has_aux=True))
  text = run.lower(OPERANDS, jnp.array(True)).compile().as_text()
  assert text.count(' conditional(') == 1
