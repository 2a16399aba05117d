"""Entropic transport: property 9 of KD²M's distances, and its gradients."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from kdjax import losses
from tests.losses import clouds
from tests.losses.test_properties import batches

pytestmark = pytest.mark.slow  # importing ott alone takes seconds

_N, _D = 12, 5
_few = hypothesis.settings(max_examples=5, deadline=None, derandomize=True)


def _compiled(distance):
  """Returns a jitted distance with epsilon as a traced argument."""
  settings = {'iterations': 1000, 'tolerance': 0.0, 'newton_steps': 50}
  return jax.jit(
    lambda x, y, epsilon: distance(x, y, epsilon=epsilon, **settings)
  )


cost = _compiled(losses.sinkhorn_cost)
reg = _compiled(losses.sinkhorn_regularized)
div = _compiled(losses.sinkhorn_divergence)


@_few
@hypothesis.given(batches, st.sampled_from([0.03, 0.1, 1.0]))
def test_cost_is_between_exact_and_regularized_distance(batch, epsilon):
  x, y, _ = batch
  slack = 1e-5 * clouds.largest_term(x, y)
  exact = losses.wasserstein2(x, y)
  assert exact - slack <= cost(x, y, epsilon) <= reg(x, y, epsilon) + slack
  assert div(x, y, epsilon) >= -slack


@_few
@hypothesis.given(batches)
def test_small_epsilon_approximates_exact_transport(batch):
  x, y, _ = batch
  exact = losses.wasserstein2(x, y)
  np.testing.assert_allclose(cost(x, y, 2e-3), exact, rtol=0.01)
  np.testing.assert_allclose(div(x, y, 2e-3), exact, rtol=0.02)


@_few
@hypothesis.given(batches)
def test_large_epsilon_approximates_the_distance_of_means(batch):
  x, y, _ = batch
  scale = clouds.largest_term(x, y)
  np.testing.assert_allclose(
    div(x, y, 1e3), losses.mmd_linear(x, y), rtol=2e-3, atol=2e-3 * scale
  )
  pairs = jnp.sum((x[:, None] - y) ** 2, axis=-1)
  np.testing.assert_allclose(cost(x, y, 1e3), jnp.mean(pairs), rtol=1e-3)


@pytest.mark.parametrize('epsilon', [0.03, 1.0])
def test_divergence_of_a_shift_is_its_square(epsilon):
  x, _, _ = clouds.make(0, _N, _D)
  shift = jnp.arange(_D, dtype=jnp.float32)
  got = div(x, x + shift, epsilon)
  np.testing.assert_allclose(got, jnp.sum(shift**2), rtol=1e-4)


def test_only_the_divergence_is_zero_for_equal_batches():
  x, _, _ = clouds.make(0, _N, _D)
  value, gradient = jax.value_and_grad(div)(x, x, 0.1)
  np.testing.assert_allclose(value, 0, atol=1e-4)
  np.testing.assert_allclose(gradient, 0, atol=1e-5)
  drawn = jax.grad(reg)(x, x, 0.1)
  # The negative gradient points inwards.
  assert np.sum(drawn * (x - x.mean(axis=0))) > 0.1


@pytest.mark.parametrize('distance', [cost, reg, div])
def test_gradients_match_finite_differences(distance):
  with jax.enable_x64(True):
    x, y, _ = clouds.make(0, 6, 3)
    x, y = x.astype(jnp.float64), y.astype(jnp.float64)
    direction = jnp.asarray(np.random.default_rng(1).normal(size=x.shape))
    # The absolute epsilon is constant, as in the definition of the gradient.
    absolute = 0.2 * jnp.mean(jnp.sum((x[:, None] - y) ** 2, axis=-1))

    def value(step):
      moved = x + step * direction
      mean = jnp.mean(jnp.sum((moved[:, None] - y) ** 2, axis=-1))
      return distance(moved, y, absolute / mean)

    got = jnp.sum(jax.grad(distance)(x, y, 0.2) * direction)
    want = (value(1e-5) - value(-1e-5)) / 2e-5
  np.testing.assert_allclose(got, want, rtol=1e-6)


def test_few_iterations_are_accurate_enough_for_training():
  x, y, _ = clouds.make(0, 64, 16, kind='clustered')
  converged = div(x, y, 0.1)
  got = losses.sinkhorn_divergence(x, y, epsilon=0.1, iterations=100)
  np.testing.assert_allclose(got, converged, rtol=1e-3)


@pytest.mark.parametrize('epsilon', [0, -1.0, float('nan')])
@pytest.mark.parametrize(
  'distance',
  [
    losses.sinkhorn_cost,
    losses.sinkhorn_regularized,
    losses.sinkhorn_divergence,
  ],
)
def test_epsilon_must_be_positive(distance, epsilon):
  x, y, _ = clouds.make(0, 4, 3)
  with pytest.raises(ValueError, match=f'epsilon must be positive.*{epsilon}'):
    distance(x, y, epsilon=epsilon)


def test_equal_points_have_zero_divergence_and_gradient():
  x = jnp.ones((4, 3))
  value, gradient = jax.value_and_grad(losses.sinkhorn_divergence)(x, x)
  assert value == 0
  np.testing.assert_array_equal(gradient, 0)
