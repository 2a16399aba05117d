"""Distances between distributions of features with a choice of samples."""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from kdjax.losses.numerics import full_precision

Samples = Literal['batch', 'spatial', 'channels']
Distance = Callable[[jax.Array, jax.Array], jax.Array]


def over_samples(
  student: jax.Array,
  teacher: jax.Array,
  *,
  distance: Distance,
  samples: Samples,
) -> jax.Array:
  """Computes a distance between distributions with samples along one axis.

  ========== ======================= ===================== ===============
  `samples`  one distribution for    its samples           their width
  ========== ======================= ===================== ===============
  `batch`    the whole batch         the images            H · W · C, or D
  `spatial`  each image              its H · W pixels      C
  `channels` each image              its C channels        H · W
  ========== ======================= ===================== ===============

  Args:
    student: Float `[B, H, W, C]`, or `[B, D]` for `samples='batch'`.
    teacher: Features of the teacher, of the same kind and sample width.
    distance: Distance of two arrays `[samples, width]`, such as
      `wasserstein2`.
    samples: The axis that contains the samples.

  Returns:
    A scalar: the distance, averaged over the images if each image has its own
    distribution.

  Raises:
    ValueError: If the axis is unknown or the arrays lack it.
  """
  student, teacher = (
    _distributions(array, samples) for array in (student, teacher)
  )
  if samples == 'batch':
    return distance(student, teacher)
  if len(student) != len(teacher):
    raise ValueError(
      f'A distribution per image needs the same images of both networks, got '
      f'{len(student)} and {len(teacher)}.'
    )
  return jnp.mean(jax.vmap(distance)(student, teacher))


def spatial_gaussian_wasserstein2(
  student: jax.Array,
  teacher: jax.Array,
  *,
  mean_weight: float = 4.0,
  epsilon: float = 1e-5,
) -> jax.Array:
  r"""Computes the Gaussian distance of WKD-F between the pixels of an image.

  .. math::
    \frac1B \sum_b \rho \, \lVert \mu^s_b - \mu^t_b \rVert^2
      + \lVert s^s_b - s^t_b \rVert^2 ,
    \qquad s = \sqrt{\mathrm{var} + \epsilon}

  with moments over the H · W pixels of one image (the variance has the divisor
  H · W - 1): one distribution per image, where KD²M has one per batch.

  Args:
    student: Float `[B, H, W, C]`, after the projection to the teacher's width.
    teacher: Float `[B, H', W', C]`.
    mean_weight: :math:`\rho`: 4 for CIFAR, 2 for ImageNet.
    epsilon: :math:`\epsilon`, keeps the gradient of the square root finite.

  Returns:
    A scalar, in at least float32, summed over the channels.

  Raises:
    ValueError: If the shapes are inconsistent or a map has one pixel.

  References:
    Lv, Yang and Li, `Wasserstein Distance Rivals Kullback-Leibler Divergence
    for Knowledge Distillation <https://arxiv.org/abs/2412.08139>`_, 2024.
  """

  def distance(x: jax.Array, y: jax.Array) -> jax.Array:  # [pixels, C] each
    if x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
      raise ValueError(
        'spatial_gaussian_wasserstein2 needs maps of two pixels or more and of '
        f'one width, got pixels and width {x.shape} and {y.shape}.'
      )
    means = jnp.mean(x, axis=0) - jnp.mean(y, axis=0)
    deviations = _deviations(x, epsilon) - _deviations(y, epsilon)
    return jnp.sum(mean_weight * means**2 + deviations**2)

  return over_samples(student, teacher, distance=distance, samples='spatial')


def _deviations(x: jax.Array, epsilon: float) -> jax.Array:
  """Computes the square root of unbiased variance plus epsilon, per column."""
  return jnp.sqrt(jnp.var(x, axis=0, ddof=1) + epsilon)


def _distributions(array: jax.Array, samples: Samples) -> jax.Array:
  """Returns `[samples, width]` of the batch or `[B, samples, width]`."""
  array = full_precision(array)
  if samples == 'batch' and array.ndim >= 2:
    return array.reshape(len(array), -1)
  if samples == 'spatial' and array.ndim == 4:
    return array.reshape(len(array), -1, array.shape[-1])
  if samples == 'channels' and array.ndim == 4:
    return jnp.moveaxis(array, -1, 1).reshape(len(array), array.shape[-1], -1)
  raise ValueError(
    "samples must be 'batch' (of [B, ...]), 'spatial' or 'channels' (of "
    f'[B, H, W, C]), got {samples!r} and an array {array.shape}.'
  )
