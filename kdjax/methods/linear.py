"""Trained linear maps between embeddings, initialized as PyTorch does."""

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.losses import numerics

# `kernel` `[inputs, outputs]` and `bias` `[outputs]`.
Layer = dict[str, jax.Array]


def init_linear(key: jax.Array, inputs: int, outputs: int) -> Layer:
  """Returns a float32 layer, uniform in ±1/sqrt(inputs).

  Args:
    key: Random key.
    inputs: Width of its input.
    outputs: Width of its output.
  """
  bound = inputs**-0.5
  kernel_key, bias_key = jax.random.split(key)

  def draw(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return jax.random.uniform(key, shape, jnp.float32, -bound, bound)

  return {
    'kernel': draw(kernel_key, (inputs, outputs)),
    'bias': draw(bias_key, (outputs,)),
  }


def apply_linear(layer: Layer, rows: jax.Array) -> jax.Array:
  """Returns `rows @ kernel + bias` in at least float32.

  Args:
    layer: The layer.
    rows: `[..., inputs]`.

  Returns:
    `[..., outputs]`.
  """
  product = numerics.matmul(numerics.full_precision(rows), layer['kernel'])
  return product + layer['bias']


def merge_linear(
  first: Layer, second: Layer
) -> tuple[np.typing.NDArray[np.floating], np.typing.NDArray[np.floating]]:
  """Returns kernel and bias of the composition of two layers.

  The products are computed in float64 on the host and rounded once.

  Args:
    first: The layer that is applied first.
    second: The layer that is applied to its output.
  """
  kernel, bias, last, shift = (
    np.asarray(layer[name], np.float64)
    for layer in (first, second)
    for name in ('kernel', 'bias')
  )
  dtype = second['kernel'].dtype
  return (kernel @ last).astype(dtype), (bias @ last + shift).astype(dtype)
