"""Trained linear maps between embeddings, started as PyTorch starts them."""

import jax
import jax.numpy as jnp
import numpy as np

from kdjax import losses

Layer = dict[str, jax.Array]


def init_linear(key: jax.Array, inputs: int, outputs: int) -> Layer:
  """Kernel `[inputs, outputs]` and bias, uniform in ±1/sqrt(inputs)."""
  bound = inputs**-0.5
  kernel_key, bias_key = jax.random.split(key)

  def draw(key, shape):
    return jax.random.uniform(key, shape, jnp.float32, -bound, bound)

  return {
    'kernel': draw(kernel_key, (inputs, outputs)),
    'bias': draw(bias_key, (outputs,)),
  }


def apply_linear(layer: Layer, rows: jax.Array) -> jax.Array:
  """Rows `[B, inputs]` to `[B, outputs]`, in at least float32."""
  product = losses.matmul(losses.full_precision(rows), layer['kernel'])
  return product + layer['bias']


def merge_linear(first: Layer, second: Layer) -> tuple[np.ndarray, np.ndarray]:
  """Kernel and bias of the one layer that does what two do.

  Multiplied in float64 on the host, so that it is rounded once.
  """
  kernel, bias, last, shift = (
    np.asarray(layer[name], np.float64)
    for layer in (first, second)
    for name in ('kernel', 'bias')
  )
  dtype = second['kernel'].dtype
  return (kernel @ last).astype(dtype), (bias @ last + shift).astype(dtype)
