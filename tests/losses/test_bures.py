"""Transport of Gaussians with full covariance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import losses
from tests.losses import clouds


def _by_roots(x, y, ridge=0.0):
  """The formula with roots of covariances, in float64."""
  x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
  eye = ridge * np.eye(x.shape[1])
  s, t = (np.cov(z.T, bias=True).reshape(eye.shape) + eye for z in (x, y))
  values, vectors = np.linalg.eigh(s)
  root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
  inner = np.linalg.eigvalsh(root @ t @ root)
  cross = np.sum(np.sqrt(np.maximum(inner, 0)))
  means = np.sum((x.mean(0) - y.mean(0)) ** 2)
  return means + np.trace(s) + np.trace(t) - 2 * cross


_POLARS = {
  'svd': losses.polar_svd,
  'newton_schulz': losses.polar_newton_schulz,
}


@pytest.mark.parametrize('polar', _POLARS.values(), ids=_POLARS)
@pytest.mark.parametrize(('n', 'd'), [(6, 10), (30, 4)])
@pytest.mark.parametrize('ridge', [0.0, 0.1])
def test_agrees_with_roots_of_covariances(polar, n, d, ridge):
  x, y, _ = clouds.make(n, n, d, kind='clustered')
  got = losses.gaussian_wasserstein2_full(x, y, ridge=ridge, polar=polar)
  scale = clouds.largest_term(x, y)
  np.testing.assert_allclose(got, _by_roots(x, y, ridge), atol=1e-4 * scale)


def test_batches_of_different_size():
  x, _, _ = clouds.make(0, 9, 4)
  _, y, _ = clouds.make(1, 6, 4)
  got = losses.gaussian_wasserstein2_full(x, y)
  np.testing.assert_allclose(got, _by_roots(x, y), rtol=1e-4)


@pytest.mark.parametrize('polar', _POLARS.values(), ids=_POLARS)
def test_gradient_where_roots_give_nan(polar):
  # n < d: the covariances are singular, their roots have no derivative.
  x, y, _ = clouds.make(0, 5, 8, kind='relu')

  def distance(x):
    return losses.gaussian_wasserstein2_full(x, y, polar=polar)

  gradient = jax.grad(distance)(x)
  assert np.all(np.isfinite(gradient))
  direction = jnp.asarray(np.random.default_rng(1).normal(size=x.shape))
  step = 1e-3
  plus, minus = (
    _by_roots(np.float64(x) + sign * step * np.float64(direction), y)
    for sign in (1, -1)
  )
  want = (plus - minus) / (2 * step)
  got = jnp.sum(gradient * direction)
  np.testing.assert_allclose(got, want, rtol=2e-2)


def test_classes_are_solved_together_as_they_are_alone():
  x, y, labels = clouds.make(3, 24, 5, kind='clustered', classes=4)
  got = losses.gaussian_wasserstein2_full_per_class(x, y, labels, 5)
  for c in range(5):
    members = np.asarray(labels) == c
    want = (
      losses.gaussian_wasserstein2_full(x[members], y[members])
      if members.any()
      else 0
    )
    np.testing.assert_allclose(got[c], want, rtol=1e-4, atol=1e-4)


def test_polar_factor_of_a_rotation_is_itself():
  angle = 0.7
  turn = jnp.array(
    [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
  )
  for polar in _POLARS.values():
    np.testing.assert_allclose(polar(3 * turn), turn, atol=1e-5)
    np.testing.assert_array_equal(polar(jnp.zeros((2, 3))), 0)


def test_null_directions_are_left_out():
  matrix = jnp.outer(jnp.array([1.0, 2.0]), jnp.array([2.0, 0.0, 1.0]))
  want = matrix / 5.0
  for polar in _POLARS.values():
    np.testing.assert_allclose(polar(matrix), want, atol=1e-5)


def test_ridge_is_not_negative():
  x, y, _ = clouds.make(0, 5, 3)
  with pytest.raises(ValueError, match='ridge must be zero or more, got -1'):
    losses.gaussian_wasserstein2_full(x, y, ridge=-1)
