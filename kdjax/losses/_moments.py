"""Means, variances and standard deviations of a batch or of its classes."""

import jax
import jax.numpy as jnp

from kdjax.losses.numerics import full_precision, machine_epsilon, matmul

Moments = tuple[jax.Array, jax.Array]  # mean and variance, over the last axis


def total_variance(samples: jax.Array) -> jax.Array:
  r"""Computes the total variance :math:`\mathrm{tr}\,\Sigma` of a batch.

  Args:
    samples: Float `[n, d]`.

  Returns:
    A scalar, in at least float32: the variances (divisor n) summed over the
    features, equal to the mean squared distance from the mean.
  """
  return jnp.sum(moments(full_precision(samples))[1])


def moments(x: jax.Array) -> Moments:
  """Computes mean and variance (divisor n) of each feature.

  Args:
    x: Float `[n, d]`.

  Returns:
    Mean `[d]` and variance `[d]`.
  """
  mean = jnp.mean(x, axis=0)
  return mean, jnp.mean((x - mean) ** 2, axis=0)


def class_means(x: jax.Array, one_hot: jax.Array) -> jax.Array:
  """Computes the mean over the samples of each class.

  Args:
    x: Float `[n, ...]`.
    one_hot: One-hot labels, float `[n, classes]`.

  Returns:
    `[classes, ...]`; zero for a class without samples.
  """
  counts = jnp.maximum(jnp.sum(one_hot, axis=0), 1)
  sums = matmul(one_hot.T, x)
  return sums / counts.reshape(-1, *([1] * (x.ndim - 1)))


def class_moments(x: jax.Array, one_hot: jax.Array) -> Moments:
  """Computes mean and variance (divisor: samples of the class) per class.

  Args:
    x: Float `[n, d]`.
    one_hot: One-hot labels, float `[n, classes]`.

  Returns:
    Mean and variance, each `[classes, d]`; zero for a class without samples.
  """
  mean = class_means(x, one_hot)
  return mean, class_means((x - matmul(one_hot, mean)) ** 2, one_hot)


def standard_deviation(mean: jax.Array, variance: jax.Array) -> jax.Array:
  """Computes the standard deviation; zero for a constant feature.

  A variance within the rounding error of the mean counts as zero. Its square
  root would have a gradient of order one that is noise only.

  Args:
    mean: Float `[..., d]`.
    variance: Float `[..., d]`.

  Returns:
    `[..., d]`; zero, with zero gradient, for a constant feature.
  """
  rounding = (64 * machine_epsilon(mean.dtype) * mean) ** 2
  varies = variance > rounding
  return jnp.where(varies, jnp.sqrt(jnp.where(varies, variance, 1)), 0)
