"""Attention and stages of the vision transformer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized

from kdjax.models import vit
from tests.models import small


class AttentionTest(parameterized.TestCase):
  def test_equal_keys_give_the_mean_of_the_values(self):
    q, v = jax.random.normal(jax.random.key(0), (2, 1, 5, 6))
    qkv = jnp.concatenate([q, jnp.ones((1, 5, 6)), v], -1)
    got = vit.attention(qkv, heads=2)
    want = jnp.broadcast_to(v.mean(1, keepdims=True), v.shape)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)

  def test_large_queries_select_one_value(self):
    keys = jnp.eye(4)[None]
    values = jax.random.normal(jax.random.key(0), (1, 4, 4))
    qkv = jnp.concatenate([1e4 * keys, keys, values], -1)
    np.testing.assert_allclose(vit.attention(qkv, heads=1), values, rtol=1e-6)

  def test_attention_matches_torch(self):
    torch = pytest.importorskip('torch', reason='compares with PyTorch')
    qkv = np.random.default_rng(0).normal(size=(2, 7, 36)).astype(np.float32)
    parts = torch.from_numpy(qkv).reshape(2, 7, 3, 3, 4).permute(2, 0, 3, 1, 4)
    want = torch.nn.functional.scaled_dot_product_attention(*parts)
    want = want.transpose(1, 2).reshape(2, 7, 12).numpy()
    np.testing.assert_allclose(vit.attention(qkv, 3), want, atol=2e-6)


class VisionTransformerTest(parameterized.TestCase):
  @pytest.mark.slow
  def test_embedding_is_the_class_token_and_stages_are_the_patches(self):
    features, _ = small.apply(
      small.create('vit'), small.variables('vit'), small.images()
    )
    last = features.boundaries[-1]
    self.assertEqual(last.shape, (2, 17, 24))
    np.testing.assert_array_equal(features.embedding, last[:, 0])
    np.testing.assert_array_equal(
      features.stages[-1].reshape(2, 16, 24), last[:, 1:]
    )

  def test_logits_depend_on_patch_positions(self):
    network, variables = small.create('vit'), small.variables('vit')
    images = small.images()
    turned = jnp.roll(images, 8, axis=1)  # by one patch
    got, _ = small.apply(network, variables, turned)
    want, _ = small.apply(network, variables, images)
    self.assertGreater(jnp.abs(got.logits - want.logits).max(), 1e-4)

  def test_depth_not_divisible_into_stages_raises_an_error(self):
    network = small.create('vit', depth=6)
    with self.assertRaisesRegex(ValueError, '6 blocks.*into 4 stages'):
      network.describe((32, 32, 3))
