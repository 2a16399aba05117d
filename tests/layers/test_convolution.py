"""Values and gradients of convolutions match those of XLA."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized

from kdjax.layers.convolution import conv2d, conv_transpose2d

pytestmark = pytest.mark.optimized


def _native(x, kernel, *, strides, padding, groups):
  return jax.lax.conv_general_dilated(
    x,
    kernel,
    (strides, strides),
    [(padding, padding)] * 2,
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    feature_group_count=groups,
  )


def _gradients(conv, x, kernel):
  return jax.grad(lambda a, b: jnp.sin(conv(a, b)).sum(), (0, 1))(x, kernel)


class Conv2dTest(parameterized.TestCase):
  def _case(self, height, width, channels, outputs, size, groups):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, height, width, channels))
    kernel = rng.normal(size=(size, size, channels // groups, outputs))
    return jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32)

  @parameterized.named_parameters(
    ('same', 8, 8, 4, 6, 3, 1, 1, 1),
    ('stride_2_even', 8, 8, 4, 6, 3, 2, 1, 1),
    ('stride_2_odd_oblong', 9, 7, 4, 6, 3, 2, 1, 1),
    ('stride_3', 11, 8, 2, 3, 3, 3, 0, 1),
    ('point', 6, 6, 4, 8, 1, 1, 0, 1),
    ('point_stride_2', 7, 6, 4, 8, 1, 2, 0, 1),
    ('stem_7x7', 16, 16, 3, 4, 7, 2, 3, 1),
    ('grouped', 8, 8, 6, 9, 3, 2, 1, 3),
    ('grouped_point', 5, 5, 6, 12, 1, 1, 0, 3),
    ('depthwise', 8, 8, 6, 6, 3, 1, 1, 6),
    ('depthwise_stride_2', 7, 8, 6, 6, 3, 2, 1, 6),
    ('depthwise_twice_as_many', 8, 8, 3, 6, 3, 1, 1, 3),
  )
  def test_value_and_gradients_match_xla(
    self, height, width, channels, outputs, size, strides, padding, groups
  ):
    x, kernel = self._case(height, width, channels, outputs, size, groups)
    settings = {'strides': strides, 'padding': padding, 'groups': groups}
    ours = functools.partial(conv2d, **settings)
    native = functools.partial(_native, **settings)
    np.testing.assert_allclose(ours(x, kernel), native(x, kernel), atol=1e-5)
    for got, want in zip(
      jax.jit(functools.partial(_gradients, ours))(x, kernel),
      _gradients(native, x, kernel),
    ):
      np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5)

  @parameterized.parameters(1, 4)
  def test_gradients_in_a_scan_match(self, groups):
    x, kernel = self._case(8, 8, 4, 4, 3, groups)
    conv = functools.partial(conv2d, strides=2, padding=1, groups=groups)

    def body(kernel, x):
      return kernel, _gradients(conv, x, kernel)

    _, inside = jax.jit(functools.partial(jax.lax.scan, body))(kernel, x[None])
    for got, want in zip(inside, _gradients(conv, x, kernel)):
      np.testing.assert_allclose(got[0], want, rtol=1e-5, atol=1e-5)

  def test_compiled_gradients_have_no_branches(self):
    x, kernel = self._case(8, 8, 4, 4, 3, 1)
    conv = functools.partial(conv2d, padding=1)
    step = jax.jit(functools.partial(_gradients, conv))
    # The platform is chosen at compile time: conditionals would be slow.
    self.assertNotIn('conditional', step.lower(x, kernel).compile().as_text())

  def test_bfloat16_gradients_are_bfloat16_and_close(self):
    x, kernel = self._case(8, 8, 4, 4, 3, 2)
    conv = functools.partial(conv2d, padding=1, groups=2)
    for got, want in zip(
      _gradients(conv, x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)),
      _gradients(conv, x, kernel),
    ):
      self.assertEqual(got.dtype, jnp.bfloat16)
      self.assertLess(jnp.abs(got - want).max(), 0.05 * jnp.abs(want).max())

  def test_mismatched_channels_raise_an_error(self):
    x, kernel = self._case(8, 8, 4, 4, 3, 1)
    with self.assertRaisesRegex(ValueError, r'3, 3, 4, 4.*8 input channels'):
      conv2d(x, kernel, groups=2)


class ConvTranspose2dTest(parameterized.TestCase):
  @parameterized.parameters((4, 2, 1), (3, 2, 1), (3, 1, 1), (2, 3, 0))
  def test_value_and_gradients_are_the_transpose_of_convolution(
    self, size, strides, padding
  ):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, 5, 4, 6)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(size, size, 3, 6)), jnp.float32)
    settings = {'strides': strides, 'padding': padding}
    ours = functools.partial(conv_transpose2d, **settings)
    y = ours(x, kernel)
    # <conv(z), x> = <z, transposed(x)> for every z.
    z = jnp.asarray(rng.normal(size=y.shape), jnp.float32)
    _, pullback = jax.vjp(lambda z: _native(z, kernel, groups=1, **settings), z)
    np.testing.assert_allclose(y, pullback(x)[0], atol=1e-5)

    def theirs(x, kernel):
      return jax.vjp(
        lambda z: _native(z, kernel, groups=1, **settings), jnp.zeros_like(z)
      )[1](x)[0]

    for got, want in zip(
      jax.jit(functools.partial(_gradients, ours))(x, kernel),
      _gradients(theirs, x, kernel),
    ):
      np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5)

  def test_kernel_taps_have_the_expected_positions(self):
    # Input position a and tap u contribute to output 2 a + u - 1.
    for position, tap in ((0, 1), (1, 0), (2, 3)):
      x = jnp.zeros((1, 4, 4, 1)).at[0, position, 1, 0].set(1.0)
      kernel = jnp.zeros((4, 4, 1, 1)).at[tap, 2, 0, 0].set(1.0)
      y = conv_transpose2d(x, kernel, strides=2, padding=1)
      self.assertEqual(y.shape, (1, 8, 8, 1))
      where = np.argwhere(np.asarray(y)[0, :, :, 0])
      np.testing.assert_array_equal(where, [[2 * position + tap - 1, 3]])

  def test_mismatched_input_channels_raise_an_error(self):
    with self.assertRaisesRegex(
      ValueError, r'5 input channels.*\(1, 4, 4, 3\)'
    ):
      conv_transpose2d(
        jnp.ones((1, 4, 4, 3)), jnp.ones((4, 4, 2, 5)), strides=2
      )
