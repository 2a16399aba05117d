"""Batch norm, initial weights and pooling match PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from kdjax import layers
from tests.arithmetic import narrow

pytestmark = pytest.mark.optimized


def _normalize(x, **settings):
  norm = layers.BatchNorm(**settings)
  variables = norm.init(jax.random.key(0), x, train=False)
  return norm.apply(variables, x, train=True, mutable=['batch_stats'])


class BatchNormTest(parameterized.TestCase):
  def test_variance_is_biased_in_the_batch_and_unbiased_in_statistics(self):
    # Two values, 0 and 2: mean 1, biased variance 1, unbiased 2.
    x = jnp.array([[0.0], [2.0]])
    y, updated = _normalize(x, epsilon=0.0)
    np.testing.assert_allclose(y, [[-1.0], [1.0]], rtol=1e-6)
    stats = updated['batch_stats']
    np.testing.assert_allclose(stats['mean'], [0.1 * 1], rtol=1e-6)
    np.testing.assert_allclose(stats['var'], [0.9 + 0.1 * 2], rtol=1e-6)

  def test_one_value_per_channel_gives_finite_statistics(self):
    y, updated = _normalize(jnp.full((1, 3), 5.0))
    np.testing.assert_array_equal(y, np.zeros((1, 3)))
    np.testing.assert_allclose(updated['batch_stats']['var'], 0.9, rtol=1e-6)

  def test_init_does_not_update_the_statistics(self):
    norm = layers.BatchNorm()
    x = jax.random.normal(jax.random.key(1), (8, 3)) + 5.0
    variables = norm.init(jax.random.key(0), x, train=True)
    np.testing.assert_array_equal(variables['batch_stats']['mean'], np.zeros(3))

  def test_statistics_of_bfloat16_are_float32(self):
    x = (jax.random.normal(jax.random.key(0), (512, 2)) + 100.0).astype(
      jnp.bfloat16
    )
    y, updated = _normalize(x, dtype=jnp.bfloat16)
    self.assertEqual(y.dtype, jnp.bfloat16)
    self.assertEqual(updated['batch_stats']['mean'].dtype, jnp.float32)
    want = x.astype(jnp.float32).mean(0)
    np.testing.assert_allclose(
      updated['batch_stats']['mean'], 0.1 * want, rtol=1e-6
    )

  def test_batch_norm_does_not_compute_in_bfloat16(self):
    x = jnp.zeros((4, 2, 2, 3), jnp.bfloat16)

    def slope(x):
      def total(x):
        y, updated = _normalize(x, dtype=jnp.bfloat16)
        # As with the float32 loss of a network.
        return y.astype(jnp.float32).sum(), updated

      return jax.value_and_grad(total, has_aux=True)(x)

    self.assertEqual(narrow(slope, x), set())

  def test_statistics_of_a_sharded_batch_match(self):
    x = jax.random.normal(jax.random.key(0), (16, 4, 4, 3))
    want, want_stats = _normalize(x)
    mesh = Mesh(np.array(jax.devices()), ('batch',))
    spread = jax.device_put(x, NamedSharding(mesh, PartitionSpec('batch')))
    got, got_stats = jax.jit(_normalize)(spread)
    np.testing.assert_allclose(got, want, atol=2e-6)
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
      got_stats,
      want_stats,
    )

  def test_batch_norm_matches_torch(self):
    torch = pytest.importorskip('torch', reason='compares with PyTorch')
    x = np.random.default_rng(0).normal(2.0, 3.0, (4, 5, 5, 3))
    x = x.astype(np.float32)
    theirs = torch.nn.BatchNorm2d(3)
    want = theirs(torch.from_numpy(x.transpose(0, 3, 1, 2)))
    got, updated = _normalize(jnp.asarray(x))
    np.testing.assert_allclose(
      got, want.detach().numpy().transpose(0, 2, 3, 1), atol=2e-6
    )
    np.testing.assert_allclose(
      updated['batch_stats']['var'], theirs.running_var.numpy(), rtol=1e-6
    )


class InitialWeightsTest(parameterized.TestCase):
  def test_convolution_standard_deviation_depends_on_its_outputs(self):
    layer = layers.Conv(256, size=3)
    params = layer.init(jax.random.key(0), jnp.zeros((1, 4, 4, 16)))['params']
    self.assertEqual(list(params), ['kernel'])
    np.testing.assert_allclose(
      params['kernel'].std(), (2 / (9 * 256)) ** 0.5, rtol=0.02
    )

  def test_linear_layer_is_uniform_within_inverse_root_of_inputs(self):
    layer = layers.Dense(512)
    params = layer.init(jax.random.key(0), jnp.zeros((1, 64)))['params']
    for leaf in jax.tree.leaves(params):
      self.assertLess(jnp.abs(leaf).max(), 1 / 8)
      self.assertGreater(jnp.abs(leaf).max(), 0.97 / 8)

  def test_bias_of_a_grouped_convolution_depends_on_group_inputs(self):
    layer = layers.Conv(
      400, groups=4, use_bias=True, kernel_init=layers.torch_uniform
    )
    params = layer.init(jax.random.key(0), jnp.zeros((1, 4, 4, 16)))['params']
    for leaf in jax.tree.leaves(params):
      self.assertLess(jnp.abs(leaf).max(), 1 / 6)
      self.assertGreater(jnp.abs(leaf).max(), 0.97 / 6)


class MeanTest(parameterized.TestCase):
  def test_mean_of_bfloat16_is_summed_in_float32(self):
    # From 256 a bfloat16 sum does not increase when 1 is added.
    x = jnp.ones((1, 32, 32, 1), jnp.bfloat16)
    y = layers.global_mean(x)
    self.assertEqual(y.dtype, jnp.bfloat16)
    np.testing.assert_array_equal(y, [[1.0]])
