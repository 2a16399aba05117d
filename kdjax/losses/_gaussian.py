"""Distances between Gaussians with diagonal covariance, from moments alone."""

import jax
import jax.numpy as jnp

from kdjax.losses._classes import labelled
from kdjax.losses._moments import class_moments, deviation, moments
from kdjax.losses.numerics import clouds


def gaussian_wasserstein2(student: jax.Array, teacher: jax.Array) -> jax.Array:
  r"""Squared 2-Wasserstein distance of Gaussians with diagonal covariance.

  .. math::
    W_2^2 = \lVert \mu_X - \mu_Y \rVert^2 + \lVert s_X - s_Y \rVert^2

  with the standard deviations :math:`s` of each feature (divisor :math:`n`).
  A feature that is constant over the batch has :math:`s = 0` and passes on the
  gradient of its mean only.

  Args:
    student: :math:`X`, float `[n, d]`.
    teacher: :math:`Y`, float `[m, d]`.

  Returns:
    A scalar, squared, summed over the width.

  Raises:
    ValueError: If the widths differ or a batch is empty.

  References:
    Fernandes Montesuma, `KD²M <https://arxiv.org/abs/2504.01757>`_, 2025.
  """
  student, teacher = clouds('gaussian_wasserstein2', student, teacher)
  return _wasserstein2(moments(student), moments(teacher))


def gaussian_wasserstein2_per_class(
  student: jax.Array, teacher: jax.Array, labels: jax.Array, classes: int
) -> jax.Array:
  """`gaussian_wasserstein2` between the samples of each class.

  Args:
    student: Float `[n, d]`.
    teacher: Float `[n, d]`, of the same images.
    labels: Integer `[n]`.
    classes: How many there are.

  Returns:
    `[classes]`; zero for a class without samples.

  Raises:
    ValueError: If shapes do not belong together.
  """
  student, teacher, member = labelled(
    'gaussian_wasserstein2_per_class', student, teacher, labels, classes
  )
  return _wasserstein2(
    class_moments(student, member), class_moments(teacher, member)
  )


def gaussian_kl(
  student: jax.Array,
  teacher: jax.Array,
  *,
  ridge: jax.typing.ArrayLike = 1e-3,
) -> jax.Array:
  r"""KL(student || teacher) of Gaussians with diagonal covariance.

  .. math::
    \frac12 \sum_k \left[ \frac{v_{Xk}}{v_{Yk}}
      + \frac{(\mu_{Xk} - \mu_{Yk})^2}{v_{Yk}} - 1
      + \log v_{Yk} - \log v_{Xk} \right], \qquad v = \mathrm{var} + r

  Never negative, zero where the moments agree. With the arguments exchanged it
  is the other direction. (The KD²M code has no ridge on the variances but
  1e-9 in its denominators; a feature the teacher never uses makes that
  :math:`-\infty`.)

  Args:
    student: :math:`X`, float `[n, d]`.
    teacher: :math:`Y`, float `[m, d]`.
    ridge: :math:`r`, in the units of a variance. Zero is right only where no
      feature is constant. May be traced, so it is not checked here.

  Returns:
    A scalar, in nats.

  Raises:
    ValueError: If the widths differ or a batch is empty.
  """
  student, teacher = clouds('gaussian_kl', student, teacher)
  return _kl(moments(student), moments(teacher), ridge)


def gaussian_kl_per_class(
  student: jax.Array,
  teacher: jax.Array,
  labels: jax.Array,
  classes: int,
  *,
  ridge: jax.typing.ArrayLike = 1e-3,
) -> jax.Array:
  """`gaussian_kl` between the samples of each class.

  A class of one sample has the ridge for its variance, and a divergence of the
  order of the squared distance over the ridge.

  Args:
    student: Float `[n, d]`.
    teacher: Float `[n, d]`, of the same images.
    labels: Integer `[n]`.
    classes: How many there are.
    ridge: See `gaussian_kl`.

  Returns:
    `[classes]`, in nats; zero for a class without samples.

  Raises:
    ValueError: If shapes do not belong together.
  """
  student, teacher, member = labelled(
    'gaussian_kl_per_class', student, teacher, labels, classes
  )
  return _kl(
    class_moments(student, member), class_moments(teacher, member), ridge
  )


def gaussian_jeffreys(
  student: jax.Array,
  teacher: jax.Array,
  *,
  ridge: jax.typing.ArrayLike = 1e-3,
) -> jax.Array:
  r"""KL(student || teacher) + KL(teacher || student), diagonal covariance.

  .. math::
    \frac12 \sum_k \left[ \frac{(v_{Xk} - v_{Yk})^2}{v_{Xk} v_{Yk}}
      + (\mu_{Xk} - \mu_{Yk})^2
        \left( \frac1{v_{Xk}} + \frac1{v_{Yk}} \right) \right]

  Args:
    student: :math:`X`, float `[n, d]`.
    teacher: :math:`Y`, float `[m, d]`.
    ridge: See `gaussian_kl`.

  Returns:
    A scalar, in nats: the sum of both directions, not its half.

  Raises:
    ValueError: If the widths differ or a batch is empty.
  """
  student, teacher = clouds('gaussian_jeffreys', student, teacher)
  return _jeffreys(moments(student), moments(teacher), ridge)


def gaussian_jeffreys_per_class(
  student: jax.Array,
  teacher: jax.Array,
  labels: jax.Array,
  classes: int,
  *,
  ridge: jax.typing.ArrayLike = 1e-3,
) -> jax.Array:
  """`gaussian_jeffreys` between the samples of each class.

  Args:
    student: Float `[n, d]`.
    teacher: Float `[n, d]`, of the same images.
    labels: Integer `[n]`.
    classes: How many there are.
    ridge: See `gaussian_kl_per_class`.

  Returns:
    `[classes]`, in nats; zero for a class without samples.

  Raises:
    ValueError: If shapes do not belong together.
  """
  student, teacher, member = labelled(
    'gaussian_jeffreys_per_class', student, teacher, labels, classes
  )
  return _jeffreys(
    class_moments(student, member), class_moments(teacher, member), ridge
  )


def _wasserstein2(student, teacher) -> jax.Array:
  """From (mean, variance) of each, over the last axis."""
  means = student[0] - teacher[0]
  spreads = deviation(*student) - deviation(*teacher)
  return jnp.sum(means**2 + spreads**2, axis=-1)


def _kl(student, teacher, ridge) -> jax.Array:
  """From (mean, variance) of each, over the last axis."""
  (mean_x, v_x), (mean_y, v_y) = student, teacher
  excess = (v_x - v_y) / (v_y + ridge)  # of v_X / v_Y over one
  means = (mean_x - mean_y) ** 2 / (v_y + ridge)
  return jnp.sum(excess - jnp.log1p(excess) + means, axis=-1) / 2


def _jeffreys(student, teacher, ridge) -> jax.Array:
  """From (mean, variance) of each, over the last axis."""
  (mean_x, v_x), (mean_y, v_y) = student, teacher
  v_x, v_y = v_x + ridge, v_y + ridge
  spreads = (v_x - v_y) ** 2 / (v_x * v_y)
  means = (mean_x - mean_y) ** 2 * (1 / v_x + 1 / v_y)
  return jnp.sum(spreads + means, axis=-1) / 2
