"""Transport of Gaussians with full covariance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import losses
from tests.losses import clouds


def _reference(x, y, ridge=0.0):
  """Computes the formula with matrix roots of covariances, in float64."""
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
def test_distance_matches_the_formula_with_matrix_roots(polar, n, d, ridge):
  x, y, _ = clouds.make(n, n, d, kind='clustered')
  got = losses.gaussian_wasserstein2_full(x, y, ridge=ridge, polar=polar)
  scale = clouds.largest_term(x, y)
  np.testing.assert_allclose(got, _reference(x, y, ridge), atol=1e-4 * scale)


def test_batches_may_differ_in_size():
  x, _, _ = clouds.make(0, 9, 4)
  _, y, _ = clouds.make(1, 6, 4)
  got = losses.gaussian_wasserstein2_full(x, y)
  np.testing.assert_allclose(got, _reference(x, y), rtol=1e-4)


@pytest.mark.parametrize('polar', _POLARS.values(), ids=_POLARS)
def test_gradient_with_singular_covariances_is_finite_and_correct(polar):
  # n < d: the covariances are singular, and their roots not differentiable.
  x, y, _ = clouds.make(0, 5, 8, kind='relu')

  def distance(x):
    return losses.gaussian_wasserstein2_full(x, y, polar=polar)

  gradient = jax.grad(distance)(x)
  assert np.all(np.isfinite(gradient))
  direction = jnp.asarray(np.random.default_rng(1).normal(size=x.shape))
  step = 1e-3
  plus, minus = (
    _reference(np.float64(x) + sign * step * np.float64(direction), y)
    for sign in (1, -1)
  )
  want = (plus - minus) / (2 * step)
  got = jnp.sum(gradient * direction)
  np.testing.assert_allclose(got, want, rtol=2e-2)


@pytest.mark.slow
def test_per_class_distances_match_single_classes():
  x, y, labels = clouds.make(3, 24, 5, kind='clustered', classes=4)
  got = losses.per_class(
    losses.gaussian_wasserstein2_full, x, y, labels, 5, aggregation=None
  )
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


def test_polar_factor_has_the_same_null_space():
  matrix = jnp.outer(jnp.array([1.0, 2.0]), jnp.array([2.0, 0.0, 1.0]))
  want = matrix / 5.0
  for polar in _POLARS.values():
    np.testing.assert_allclose(polar(matrix), want, atol=1e-5)


@pytest.mark.parametrize('shape', [(40, 12), (12, 40)])
def test_newton_schulz_drops_directions_of_rounding(shape):
  rng = np.random.default_rng(0)
  left, right = (np.linalg.qr(rng.normal(size=(n, 12)))[0] for n in shape)
  values = np.concatenate([np.logspace(0, -5, 9), [1e-8, 1e-8, 0]])
  matrix = jnp.asarray(left * values @ right.T, jnp.float32)
  got = losses.polar_newton_schulz(matrix)
  np.testing.assert_allclose(
    np.linalg.svd(got, compute_uv=False)[:12], values > 1e-6, atol=1e-3
  )
  # Directions far above rounding are accurate.
  for k in range(6):
    along = left[:, k] @ np.asarray(got) @ right[:, k]
    np.testing.assert_allclose(along, 1, atol=1e-3)


@pytest.mark.parametrize('polar', _POLARS.values(), ids=_POLARS)
def test_gradient_with_dead_features_matches_float64(polar):
  # Both covariances are singular; M has null directions besides the mean.
  x, y, _ = clouds.make(1, 24, 10, kind='dead')
  got = jax.grad(losses.gaussian_wasserstein2_full)(x, y, polar=polar)
  wide_x, wide_y = np.asarray(x, np.float64), np.asarray(y, np.float64)
  mean_x, mean_y = wide_x.mean(0), wide_y.mean(0)
  left, values, right = np.linalg.svd((wide_x - mean_x) @ (wide_y - mean_y).T)
  kept = values > 1e-10 * values[0]
  turned = left[:, kept] @ right[kept] @ (wide_y - mean_y)
  want = 2 / 24 * (wide_x - turned - mean_y)
  np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max())


def test_negative_ridge_raises_an_error():
  x, y, _ = clouds.make(0, 5, 3)
  with pytest.raises(ValueError, match='ridge must be zero or more, got -1'):
    losses.gaussian_wasserstein2_full(x, y, ridge=-1)
