import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import losses
from kdjax.layers import conv2d


@pytest.mark.parametrize('size', [1, 3, 5])
def test_convolution_is_linear_in_neighborhoods(size):
  keys = jax.random.split(jax.random.key(0))
  maps = jax.random.normal(keys[0], (2, 4, 5, 3))
  kernel = jax.random.normal(keys[1], (size, size, 3, 7))
  rows = losses.neighborhoods(maps, size)
  assert rows.shape == (2, 20, size * size * 3)
  want = conv2d(maps, kernel, strides=1, padding=size // 2, groups=1)
  np.testing.assert_allclose(
    rows @ kernel.reshape(-1, 7), want.reshape(2, 20, 7), atol=1e-4
  )


def test_location_is_valid_unless_all_its_anchors_are_ignored():
  matched = jnp.array([[-2, -2, -2, -1, 3, -2]])
  np.testing.assert_array_equal(
    losses.valid_locations(matched, 2), [[False, True, True]]
  )


def test_mean_over_locations_then_over_images_with_any():
  values = jnp.array([[1.0, 5.0], [7.0, jnp.nan], [9.0, 9.0]])
  valid = jnp.array([[True, True], [True, False], [False, False]])
  got = losses.mean_over_locations(values, valid)
  np.testing.assert_allclose(got, (3 + 7) / 2, rtol=1e-6)
  nothing = losses.mean_over_locations(values, jnp.zeros_like(valid))
  assert float(nothing) == 0


@pytest.mark.parametrize(
  'call',
  [
    lambda: losses.neighborhoods(jnp.ones((4, 5, 3))),
    lambda: losses.neighborhoods(jnp.ones((1, 4, 5, 3)), 2),
    lambda: losses.mean_over_locations(jnp.ones((2, 3)), jnp.ones((2, 2))),
  ],
)
def test_invalid_shapes_raise_an_error(call):
  with pytest.raises(ValueError, match=r'needs .*got'):
    call()
