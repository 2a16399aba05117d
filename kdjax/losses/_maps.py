"""Distances of feature maps, element by element."""

import jax
import jax.numpy as jnp

from kdjax.losses._arrays import full_precision


def mean_squared_error(student: jax.Array, teacher: jax.Array) -> jax.Array:
  r"""Mean squared difference of the features of one image.

  .. math::
    \ell_i = \frac{1}{M} \sum_m (x_{im} - y_{im})^2

  over all :math:`M` elements of an image: places and channels alike. Its mean
  over the batch is PyTorch's `mse_loss`.

  Args:
    student: :math:`x`, float `[B, ...]`, maps, tokens or embeddings.
    teacher: :math:`y`, of the same shape. No gradient is stopped here.

  Returns:
    `[B]`, one value per example, in the features' unit squared. In float32 at
    least.

  Raises:
    ValueError: If the shapes differ.
  """
  if jnp.shape(student) != jnp.shape(teacher):
    raise ValueError(
      'mean_squared_error needs features of one shape, got student '
      f'{jnp.shape(student)} and teacher {jnp.shape(teacher)}.'
    )
  difference = full_precision(student) - full_precision(teacher)
  return jnp.mean(difference**2, axis=tuple(range(1, difference.ndim)))
