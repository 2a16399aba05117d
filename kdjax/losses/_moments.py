"""Means, variances and standard deviations of a batch or of its classes."""

import jax
import jax.numpy as jnp

from kdjax.losses._classes import class_means
from kdjax.losses.numerics import full_precision, matmul


def total_variance(samples: jax.Array) -> jax.Array:
  r""":math:`\mathrm{tr}\,\Sigma`: the variances summed over the width.

  Args:
    samples: Float `[n, d]`.

  Returns:
    A scalar: the mean squared distance from the mean (divisor n).
  """
  return jnp.sum(moments(full_precision(samples))[1])


def moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Mean and variance (divisor n) of each column, `[d]`."""
  mean = jnp.mean(x, axis=0)
  return mean, jnp.mean((x - mean) ** 2, axis=0)


def class_moments(
  x: jax.Array, member: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """The same of each class, `[classes, d]`; zero for one without samples."""
  mean = class_means(x, member)
  return mean, class_means((x - matmul(member, mean)) ** 2, member)


def deviation(mean: jax.Array, variance: jax.Array) -> jax.Array:
  """Standard deviation; zero, and without gradient, for a constant feature.

  What rounding of the mean leaves of a constant is no variance: the square root
  would make a gradient of size one out of it.
  """
  noise = (64 * jnp.finfo(mean.dtype).eps * mean) ** 2
  moves = variance > noise
  return jnp.where(moves, jnp.sqrt(jnp.where(moves, variance, 1)), 0)
