"""Pooling and depthwise convolution by slices match those of XLA."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized

from kdjax.layers import windows


def _pooled(x, size, strides, padding, operation, start):
  return jax.lax.reduce_window(
    x,
    np.asarray(start, x.dtype),
    operation,
    (1, size, size, 1),
    (1, strides, strides, 1),
    ((0, 0), (padding,) * 2, (padding,) * 2, (0, 0)),
  )


class PoolTest(parameterized.TestCase):
  def _both(self, ours, theirs, x):
    for got, want in zip(
      jax.vjp(ours, x)[1](jnp.cos(ours(x))),
      jax.vjp(theirs, x)[1](jnp.cos(theirs(x))),
    ):
      np.testing.assert_allclose(got, want, atol=1e-6)
    np.testing.assert_allclose(ours(x), theirs(x), atol=1e-6)

  @parameterized.parameters((2, 2, 0), (3, 2, 1), (3, 1, 1), (2, 3, 0))
  def test_value_and_gradient_match_reduce_window(self, size, strides, padding):
    x = jax.random.normal(jax.random.key(0), (2, 9, 8, 3))
    self._both(
      lambda x: windows.max_pool(x, size, strides, padding),
      lambda x: _pooled(x, size, strides, padding, jax.lax.max, -jnp.inf),
      x,
    )
    self._both(
      lambda x: windows.mean_pool(x, size, strides, padding),
      lambda x: _pooled(x, size, strides, padding, jax.lax.add, 0.0) / size**2,
      x,
    )

  def test_padding_of_max_pooling_is_minus_infinity(self):
    x = -jnp.arange(1.0, 17.0).reshape(1, 4, 4, 1)
    y = windows.max_pool(x, 3, 2, padding=1)
    np.testing.assert_array_equal(y[0, :, :, 0], [[-1, -2], [-5, -6]])

  def test_ties_share_the_gradient(self):
    x = jnp.ones((1, 2, 2, 1))
    gradient = jax.grad(lambda x: windows.max_pool(x, 2, 2).sum())(x)
    np.testing.assert_array_equal(gradient.sum(), 1.0)


class DepthwiseTest(parameterized.TestCase):
  @parameterized.parameters((3, 1, 1), (3, 2, 1), (3, 2, 0), (5, 3, 2))
  def test_value_and_gradients_match_xla(self, size, strides, padding):
    keys = jax.random.split(jax.random.key(0))
    x = jax.random.normal(keys[0], (2, 9, 8, 3))
    kernel = jax.random.normal(keys[1], (size, size, 1, 3))

    def native(x, kernel):
      return jax.lax.conv_general_dilated(
        x,
        kernel,
        (strides, strides),
        [(padding, padding)] * 2,
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
        feature_group_count=3,
      )

    want, pullback = jax.vjp(native, x, kernel)
    got = windows.depthwise(x, kernel, strides, padding)
    np.testing.assert_allclose(got, want, atol=1e-5)
    cotangent = jnp.cos(want)
    for got, want in zip(
      windows.depthwise_gradients(x, kernel, cotangent, strides, padding),
      pullback(cotangent),
    ):
      np.testing.assert_allclose(got, want, atol=2e-5)
