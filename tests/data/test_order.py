import chex
import jax
import numpy as np

from kdjax.data import batch_order


class BatchOrderTest(chex.TestCase):
  @chex.variants(with_jit=True, without_jit=True)
  def test_order_is_a_permutation_that_depends_on_key_and_epoch(self):
    order = self.variant(lambda key, epoch: batch_order(key, epoch, 100))
    key = jax.random.key(0)
    first, again, next_epoch = order(key, 0), order(key, 0), order(key, 1)
    np.testing.assert_array_equal(np.sort(first), np.arange(100))
    np.testing.assert_array_equal(first, again)
    self.assertFalse(np.array_equal(first, next_epoch))
    self.assertFalse(np.array_equal(first, order(jax.random.key(1), 0)))
    self.assertEqual(first.dtype, np.int32)
