"""Properties 6 to 8: common motions, closed forms, equal batches."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from kdjax import losses
from tests.losses import clouds
from tests.losses.test_properties import (
  DISTANCES,
  batches,
  few,
  kl,
  kl_full,
  w2,
)

_N, _D = 12, 5
_SHIFTED = {name: DISTANCES[name] for name in DISTANCES if name != 'mmd_rbf'}


@pytest.mark.parametrize('name', _SHIFTED)
@few
@hypothesis.given(batches, st.integers(0, 10**6))
def test_6_distance_of_a_shift_is_its_square(name, batch, seed):
  x, _, _ = batch
  shift = np.random.default_rng(seed).normal(size=_D).astype(np.float32)
  value, gradient = jax.value_and_grad(DISTANCES[name])(x, x + shift)
  scale = clouds.largest_term(x)
  want = float(np.sum(shift**2))
  np.testing.assert_allclose(value, want, rtol=1e-5, atol=1e-5 * scale)
  np.testing.assert_allclose(
    gradient, np.tile(-2 / _N * shift, (_N, 1)), atol=2e-5 * np.sqrt(scale)
  )


@pytest.mark.parametrize('name', [*DISTANCES, 'kl', 'kl_full'])
@few
@hypothesis.given(batches, st.integers(0, 10**6))
def test_6_distance_is_invariant_to_a_common_shift(name, batch, seed):
  distance = {**DISTANCES, 'kl': kl, 'kl_full': kl_full}[name]
  x, y, _ = batch
  shift = np.random.default_rng(seed).normal(size=_D).astype(np.float32)
  np.testing.assert_allclose(
    distance(x + shift, y + shift), distance(x, y), rtol=2e-3, atol=1e-4
  )


def _rotation(seed):
  matrix = np.random.default_rng(seed).normal(size=(_D, _D))
  return jnp.asarray(np.linalg.qr(matrix)[0], jnp.float32)


@pytest.mark.parametrize(
  'name', ['mmd_linear', 'mmd_rbf', 'w2_gauss_full', 'w2', 'kl_full']
)
@few
@hypothesis.given(batches, st.integers(0, 10**6))
def test_6_distance_is_invariant_to_a_common_rotation(name, batch, seed):
  distance = {**DISTANCES, 'kl_full': kl_full}[name]
  x, y, _ = batch
  turn = _rotation(seed)
  np.testing.assert_allclose(
    distance(x @ turn, y @ turn), distance(x, y), rtol=2e-3, atol=1e-4
  )


def test_6_diagonal_forms_depend_on_a_rotation():
  x, y, _ = clouds.make(0, _N, _D)
  turn = _rotation(1)
  for distance in (DISTANCES['w2_gauss'], kl):
    assert abs(distance(x @ turn, y @ turn) - distance(x, y)) > 0.01


@pytest.mark.parametrize('name', DISTANCES)
@few
@hypothesis.given(batches, st.floats(0.1, 10))
def test_6_distance_is_quadratic_in_a_common_scale(name, batch, factor):
  x, y, _ = batch
  power = 0 if name == 'mmd_rbf' else 2
  np.testing.assert_allclose(
    DISTANCES[name](factor * x, factor * y),
    factor**power * DISTANCES[name](x, y),
    rtol=1e-3,
    atol=1e-5,
  )


def test_6_divergence_without_ridge_is_scale_invariant():
  x, y, _ = clouds.make(0, _N, _D)
  for divergence in (losses.gaussian_kl, losses.gaussian_kl_full):
    np.testing.assert_allclose(
      divergence(3 * x, 3 * y, ridge=0.0),
      divergence(x, y, ridge=0.0),
      rtol=1e-4,
    )


@pytest.mark.parametrize('name', _SHIFTED)
def test_7_distance_of_single_samples_is_squared_euclidean(name):
  x, y, _ = clouds.make(0, 1, _D)
  value, gradient = jax.value_and_grad(_SHIFTED[name])(x, y)
  np.testing.assert_allclose(value, jnp.sum((x - y) ** 2), rtol=1e-5)
  np.testing.assert_allclose(gradient, 2 * (x - y), rtol=1e-4)


@few
@hypothesis.given(st.integers(0, 10**6))
def test_7_one_dimensional_transport_sorts(seed):
  x, y, _ = clouds.make(seed, _N, 1)
  want = jnp.mean((jnp.sort(x[:, 0]) - jnp.sort(y[:, 0])) ** 2)
  np.testing.assert_allclose(w2(x, y), want, rtol=1e-5)


@pytest.mark.parametrize('name', [*DISTANCES, 'kl', 'kl_full'])
@few
@hypothesis.given(batches)
def test_8_equal_batches_have_zero_distance_and_gradient(name, batch):
  distance = {**DISTANCES, 'kl': kl, 'kl_full': kl_full}[name]
  x, _, _ = batch
  value, gradient = jax.value_and_grad(distance)(x, x)
  scale = clouds.largest_term(x)
  # A divergence multiplies rounding by one over the ridge.
  scale = 1e2 * scale if name.startswith('kl') else scale
  assert abs(value) <= 1e-5 * scale
  assert np.max(np.abs(gradient)) <= 1e-5 * scale


@pytest.mark.parametrize('name', [*DISTANCES, 'kl', 'kl_full'])
def test_8_constant_features_give_finite_gradients(name):
  distance = {**DISTANCES, 'kl': kl, 'kl_full': kl_full}[name]
  x = jnp.full((_N, _D), 1 / 3)
  for y in (x, x + 1.0, clouds.make(0, _N, _D, kind='dead')[1]):
    value, gradient = jax.value_and_grad(distance)(x, y)
    assert np.isfinite(value)
    assert np.all(np.isfinite(gradient))
