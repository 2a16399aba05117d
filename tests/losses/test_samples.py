"""Choice of the sample axis, settings of joint transport, error messages."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import losses
from tests.losses import clouds


def _maps(seed):
  return jax.random.normal(jax.random.key(seed), (3, 2, 4, 5))


def test_images_are_samples_of_the_batch_axis():
  x, y = _maps(0), _maps(1)
  got = losses.over_samples(
    x, y, distance=losses.paired_distance, samples='batch'
  )
  np.testing.assert_allclose(got, ((x - y) ** 2).sum((1, 2, 3)).mean(), 1e-6)


def test_positions_are_samples_of_the_spatial_axes():
  x, y = _maps(0), _maps(1)
  got = losses.over_samples(x, y, distance=losses.mmd_linear, samples='spatial')
  means = x.mean((1, 2)) - y.mean((1, 2))
  np.testing.assert_allclose(got, (means**2).sum(1).mean(), rtol=1e-6)


def test_channels_are_samples_and_may_differ_in_number():
  x, y = _maps(0), _maps(1)[..., :3]
  got = losses.over_samples(
    x, y, distance=losses.mmd_linear, samples='channels'
  )
  means = x.mean(3) - y.mean(3)
  np.testing.assert_allclose(got, (means**2).sum((1, 2)).mean(), rtol=1e-6)


def test_spatial_distance_is_invariant_to_positions():
  x, y = _maps(0), _maps(1)
  turned = x[:, ::-1, ::-1]
  np.testing.assert_allclose(
    losses.spatial_gaussian_wasserstein2(turned, y),
    losses.spatial_gaussian_wasserstein2(x, y),
    rtol=1e-5,
  )


@pytest.mark.parametrize(
  ('shape', 'samples', 'message'),
  [
    ((3, 5), 'spatial', r"'spatial' and an array \(3, 5\)"),
    ((3, 2, 2, 5), 'pixels', "got 'pixels'"),
    ((3,), 'batch', r'array \(3,\)'),
  ],
)
def test_missing_axes_raise_an_error(shape, samples, message):
  x = jnp.zeros(shape)
  with pytest.raises(ValueError, match=message):
    losses.over_samples(x, x, distance=losses.mmd_linear, samples=samples)


def test_spatial_samples_require_equal_numbers_of_images():
  with pytest.raises(ValueError, match='got 3 and 2'):
    losses.over_samples(
      _maps(0), _maps(1)[:2], distance=losses.mmd_linear, samples='spatial'
    )


def test_single_position_raises_an_error():
  x = jnp.zeros((2, 1, 1, 3))
  with pytest.raises(ValueError, match=r'two pixels.*\(1, 3\)'):
    losses.spatial_gaussian_wasserstein2(x, x)


@pytest.mark.parametrize(
  'distance',
  [
    losses.wasserstein2,
    losses.gaussian_wasserstein2,
    losses.gaussian_wasserstein2_full,
    losses.gaussian_kl,
    losses.gaussian_kl_full,
    losses.gaussian_jeffreys,
    losses.gaussian_jeffreys_full,
    losses.mmd_linear,
    losses.mmd_rbf,
    losses.mmd_cosine,
    losses.mean_distance,
    losses.sinkhorn_cost,
    losses.sinkhorn_regularized,
    losses.sinkhorn_divergence,
  ],
)
def test_mismatched_shapes_are_named_in_the_error(distance):
  with pytest.raises(ValueError, match=r'\(4, 3\).*\(4, 2\)'):
    distance(jnp.zeros((4, 3)), jnp.zeros((4, 2)))
  with pytest.raises(ValueError, match=r'\(0, 3\).*\(4, 3\)'):
    distance(jnp.zeros((0, 3)), jnp.zeros((4, 3)))


@pytest.mark.parametrize(
  'distance', [losses.wasserstein2, losses.mmd_rbf, losses.gaussian_kl]
)
def test_bfloat16_features_are_computed_in_float32(distance):
  x, y, _ = clouds.make(0, 6, 3, kind='relu')
  x, y = x.astype(jnp.bfloat16), y.astype(jnp.bfloat16)
  value, gradient = jax.value_and_grad(distance)(x, y)
  assert value.dtype == jnp.float32
  assert gradient.dtype == jnp.bfloat16
  want = distance(x.astype(jnp.float32), y.astype(jnp.float32))
  np.testing.assert_array_equal(value, want)


@pytest.mark.parametrize('name', ['w2', 'w2_gauss', 'w2_gauss_full'])
def test_nan_feature_gives_a_non_finite_distance(name):
  distance = {
    'w2': losses.wasserstein2,
    'w2_gauss': losses.gaussian_wasserstein2,
    'w2_gauss_full': losses.gaussian_wasserstein2_full,
  }[name]
  x, y, _ = clouds.make(0, 6, 3)
  assert not np.isfinite(distance(x.at[1, 1].set(jnp.nan), y))


def test_normalized_joint_transport_worked_by_hand():
  # Features 0, 2 against 1, 5: the largest cost is 25, the best plan costs 5.
  x, y = jnp.array([[0.0], [2.0]]), jnp.array([[1.0], [5.0]])
  label_cost = jnp.array([[0.1, 9.0], [9.0, 0.3]])
  got = losses.joint_wasserstein2(x, y, label_cost, normalize=True)
  np.testing.assert_allclose(got, 5 / 25 + 0.2, rtol=1e-6)


def test_joint_transport_of_different_batch_sizes():
  x, y = jnp.array([[0.0], [2.0]]), jnp.array([[1.0]])
  got = losses.joint_wasserstein2(x, y, jnp.array([[1.0], [3.0]]), beta=10.0)
  np.testing.assert_allclose(got, 1 + 10 * 2, rtol=1e-6)


def test_joint_transport_rejects_invalid_arguments():
  x, y, _ = clouds.make(0, 4, 3)
  good = jnp.zeros((4, 4))
  with pytest.raises(ValueError, match=r'\[4, 4\].*\(4, 5\)'):
    losses.joint_wasserstein2(x, y, jnp.zeros((4, 5)))
  with pytest.raises(ValueError, match='beta must be zero or more, got -1'):
    losses.joint_wasserstein2(x, y, good, beta=-1.0)
  with pytest.raises(ValueError, match="'max', got 'mean'"):
    losses.joint_wasserstein2(x, y, good, beta='mean')  # pyright: ignore


@pytest.mark.slow
def test_local_statistics_are_biased_upwards():
  # Distances of the shards of a batch, and that of the whole batch.
  for seed in range(5):
    x, y, _ = clouds.make(seed, 32, 6, kind='clustered')
    whole = losses.wasserstein2(x, y)
    parts = jax.vmap(losses.wasserstein2)(
      x.reshape(4, 8, 6), y.reshape(4, 8, 6)
    )
    assert parts.mean() > whole
