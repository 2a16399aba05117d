"""Batch statistics: derivatives and memory of gradients."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import layers
from kdjax.layers import batch_norm


def test_derivatives_of_moments_match_their_formula():
  def plain(x):
    mean = x.mean((0, 1))
    return mean, jnp.square(x - mean).mean((0, 1))

  def scalar(moments, x):
    mean, var = moments(x)
    return jnp.sum(jnp.sin(mean) * var + var**2)

  x = jax.random.normal(jax.random.key(0), (2, 3, 2)) + 1
  for derivative in (jax.grad, jax.hessian, jax.jacfwd):
    got, want = (
      derivative(functools.partial(scalar, moments))(x)
      for moments in (batch_norm.moments, plain)
    )
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


class _Deep(nn.Module):
  @nn.compact
  def __call__(self, x):
    for _ in range(6):
      x = layers.Conv(16, 3)(x)
      x = nn.relu(layers.BatchNorm()(x, train=True))
    return x


@pytest.mark.slow
def test_gradient_memory_is_one_map_per_convolution():
  # A centered copy per norm and a transposed one per convolution, stored in
  # the forward pass, would need 20 maps.
  network, x = _Deep(), jnp.zeros((8, 32, 32, 16))
  variables = network.init(jax.random.key(0), x)

  def loss(params):
    y, _ = network.apply(
      {**variables, 'params': params}, x, mutable=['batch_stats']
    )
    return jnp.sum(y**2)

  compiled = jax.jit(jax.grad(loss)).lower(variables['params']).compile()
  memory = compiled.memory_analysis()
  assert memory is not None
  assert memory.temp_size_in_bytes <= 12 * x.nbytes
