"""Tiny batches whose distances are computed by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import losses

_LINE = jnp.array([[0.0], [2.0]]), jnp.array([[1.0], [5.0]])
_PLANE = (
  jnp.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]]),
  jnp.array([[1.0, 1.0], [3.0, 1.0], [1.0, 4.0]]),
)


def _kl(student, teacher):
  return losses.gaussian_kl(student, teacher, ridge=0.0)


def _kl_reversed(student, teacher):
  return losses.gaussian_kl(teacher, student, ridge=0.0)


@pytest.mark.parametrize(
  ('distance', 'want'),
  [
    # Means 1 and 3, variances 1 and 4; sorted pairs (0, 1) and (2, 5).
    (losses.wasserstein2, 5.0),
    (losses.paired_distance, 5.0),
    (losses.mmd_linear, 4.0),
    (losses.gaussian_wasserstein2, 5.0),
    (losses.gaussian_wasserstein2_full, 5.0),
    (_kl, 0.5 * (0.25 + 1 - 1 + np.log(4))),
    (losses.total_variance, 1.0),
  ],
)
def test_distances_of_two_points_on_a_line(distance, want):
  arguments = _LINE[:1] if distance is losses.total_variance else _LINE
  np.testing.assert_allclose(distance(*arguments), want, rtol=1e-6)


@pytest.mark.parametrize(
  ('distance', 'want'),
  [
    (losses.wasserstein2, 3.0),  # the identity is optimal
    (losses.mmd_linear, 25 / 9),
    (losses.gaussian_wasserstein2, 3.0),
    (losses.gaussian_wasserstein2_full, 3.0),
    (losses.mean_distance, 1.975246),
    (losses.mmd_rbf, 0.279098),
    (_kl, 1.134632),
    (_kl_reversed, 1.782035),
  ],
)
def test_distances_of_three_points_in_the_plane(distance, want):
  np.testing.assert_allclose(distance(*_PLANE), want, rtol=2e-6)


@pytest.mark.slow  # importing ott alone takes seconds
@pytest.mark.parametrize(
  ('distance', 'want'),
  [
    (losses.sinkhorn_cost, 5.002683),
    (losses.sinkhorn_regularized, 5.692812),
    (losses.sinkhorn_divergence, 5.008740),
  ],
)
def test_entropic_distances_on_a_line(distance, want):
  # The mean squared distance is 9, so that this is an epsilon of 1.
  got = distance(*_LINE, epsilon=1 / 9, newton_steps=20)
  np.testing.assert_allclose(got, want, rtol=1e-6)


def test_distances_of_features():
  x = jnp.array([[[3.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [0.0, 2.0]]])
  y = jnp.array([[[1.0, 0.0], [4.0, 0.0]], [[1.0, 1.0], [0.0, 5.0]]])
  # Differences 2, 0, -4, 1 and 0, 0, 0, -3; right angles, and none.
  squared, absolute = [21 / 4, 9 / 4], [7 / 4, 3 / 4]
  np.testing.assert_allclose(losses.mean_squared_error(x, y), squared)
  np.testing.assert_allclose(losses.mean_absolute_error(x, y), absolute)
  angles = losses.direction_squared_error(x, y)
  np.testing.assert_allclose(angles, [[0, 1], [0, 0]], atol=1e-6)


def test_cosine_kernel_of_two_directions():
  # k is 1 within each batch and cos² = 1/2 between them.
  x, y = jnp.array([[3.0, 0.0]]), jnp.array([[2.0, 2.0]])
  np.testing.assert_allclose(losses.mmd_cosine(x, y), 1.0, rtol=1e-6)


def test_zero_vectors_have_zero_gradient():
  x, y = jnp.zeros((2, 3)), jnp.ones((2, 3))
  value, gradient = jax.value_and_grad(losses.mmd_cosine)(x, y)
  np.testing.assert_allclose(value, 1.0, rtol=1e-6)
  np.testing.assert_array_equal(gradient, 0)


def test_unbiased_mmd_excludes_the_diagonals():
  # k(0, 1) = k(1, 0) = e within X; Y repeats X, so that XY is (2 + 2 e) / 4.
  x = jnp.array([[0.0], [1.0]])
  e = np.exp(-0.5)
  got = losses.mmd_rbf(x, x, bandwidth=1.0, unbiased=True)
  np.testing.assert_allclose(got, 2 * e - (1 + e), rtol=1e-6)


def test_the_default_bandwidth_is_constant_in_the_gradient():
  x, y = _PLANE
  slope = jax.grad(losses.mmd_rbf)(x, y)
  sigma = float(losses.mean_distance(x, y))
  # k(a, b) (b - a) / σ² of each pair, with a constant σ.
  kernel = np.exp(-((x[:, None] - y) ** 2).sum(-1) / (2 * sigma**2))
  own = np.exp(-((x[:, None] - x) ** 2).sum(-1) / (2 * sigma**2))
  want = (
    2
    / (9 * sigma**2)
    * (
      (own[..., None] * (x - x[:, None])).sum(1)
      - (kernel[..., None] * (y - x[:, None])).sum(1)
    )
  )
  np.testing.assert_allclose(slope, want, atol=1e-6)


def test_mmd_is_the_mean_over_its_scales():
  x, y = _PLANE
  got = losses.mmd_rbf(x, y, bandwidth=2.0, scales=(0.25, 1.0))
  want = [losses.mmd_rbf(x, y, bandwidth=s) for s in (1.0, 2.0)]
  np.testing.assert_allclose(got, np.mean(want), rtol=1e-6)


def test_spatial_moments_of_an_image():
  # Two positions: values 0, 2 and 1, 5; variances (n - 1) 2 and 8.
  x, y = (cloud.reshape(1, 2, 1, 1) for cloud in _LINE)
  got = losses.spatial_gaussian_wasserstein2(x, y, mean_weight=3.0, epsilon=0.0)
  np.testing.assert_allclose(got, 3 * 4 + (8**0.5 - 2**0.5) ** 2, rtol=1e-6)


def test_transport_to_a_single_teacher_sample():
  # The mass of both student samples goes to the single teacher sample.
  x, y = _LINE[0], jnp.array([[1.0]])
  value, gradient = jax.value_and_grad(losses.wasserstein2)(x, y)
  np.testing.assert_allclose(value, 1.0, rtol=1e-6)
  np.testing.assert_allclose(gradient, [[-1.0], [1.0]], rtol=1e-6)
