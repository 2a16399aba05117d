import jax
import jax.numpy as jnp
import numpy as np

from kdjax.methods.linear import apply_linear, init_linear


def test_initial_weights_are_uniform_within_inverse_root_of_inputs():
  layer = init_linear(jax.random.key(0), 16, 1000)
  for leaf in (layer['kernel'], layer['bias']):
    assert 0.24 < float(jnp.abs(leaf).max()) <= 0.25
    np.testing.assert_allclose(leaf.var(), 0.25**2 / 3, rtol=0.1)


def test_linear_layer_worked_by_hand():
  layer = {
    'kernel': jnp.array([[1.0, 2.0], [3.0, 4.0]]),
    'bias': jnp.array([10.0, 20.0]),
  }
  got = apply_linear(layer, jnp.array([[1.0, -1.0]]))
  np.testing.assert_array_equal(got, [[8.0, 18.0]])


def test_bfloat16_rows_give_float32_outputs():
  layer = init_linear(jax.random.key(0), 4, 2)
  rows = jax.random.normal(jax.random.key(1), (3, 4), jnp.bfloat16)
  got = apply_linear(layer, rows)
  assert got.dtype == jnp.float32
  np.testing.assert_array_equal(got, apply_linear(layer, rows.astype(float)))
