"""Entropic transport of tiny batches against Sinkhorn's iterations in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import losses

_X = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
_Y = np.array([[1.0, 1.0], [3.0, 1.0], [1.0, 4.0], [0.0, 1.0]])
_EPSILON = 0.3
_NAMES = ('cost', 'regularized', 'divergence')


def _squared_distances(x, y):
  return ((x[:, None] - y) ** 2).sum(-1)


def _solution(x, y, epsilon, iterations=2000):
  """The plan with uniform marginals and both numbers, in float64."""
  cost = _squared_distances(x, y)
  kernel = np.exp(-cost / epsilon)
  n, m = cost.shape
  columns = np.ones(m)
  for _ in range(iterations):
    rows = 1 / n / (kernel @ columns)
    columns = 1 / m / (kernel.T @ rows)
  plan = rows[:, None] * kernel * columns
  divergence = (plan * np.log(plan * n * m)).sum()
  return plan, (plan * cost).sum(), (plan * cost).sum() + epsilon * divergence


def _wanted():
  epsilon = _EPSILON * _squared_distances(_X, _Y).mean()
  _, cost, regularized = _solution(_X, _Y, epsilon)
  own = [_solution(z, z, epsilon)[2] for z in (_X, _Y)]
  return cost, regularized, regularized - sum(own) / 2


@pytest.fixture(scope='module')
def results():
  """Values and gradients of the three numbers, compiled as one program."""

  @jax.jit
  def run(x, y):
    return {
      name: jax.value_and_grad(getattr(losses, f'sinkhorn_{name}'))(
        x, y, epsilon=_EPSILON, iterations=500, tolerance=0.0
      )
      for name in _NAMES
    }

  with jax.enable_x64(True):
    return jax.device_get(run(jnp.asarray(_X), jnp.asarray(_Y)))


@pytest.mark.parametrize(('name', 'want'), list(zip(_NAMES, _wanted())))
def test_values(results, name, want):
  np.testing.assert_allclose(results[name][0], want, rtol=1e-9)


def test_gradients_are_those_of_the_values_at_a_constant_epsilon(results):
  epsilon = _EPSILON * _squared_distances(_X, _Y).mean()
  step = np.random.default_rng(0).normal(size=_X.shape)

  def along(move):
    x = _X + move * step
    _, cost, regularized = _solution(x, _Y, epsilon)
    own = _solution(x, x, epsilon)[2]
    return np.array([cost, regularized, regularized - own / 2])

  want = (along(1e-5) - along(-1e-5)) / 2e-5
  got = [np.vdot(results[name][1], step) for name in _NAMES]
  np.testing.assert_allclose(got, want, rtol=1e-6)
