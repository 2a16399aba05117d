"""Distances between Gaussians with diagonal covariance, from moments alone."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from kdjax.losses._moments import (
  Moments,
  class_moments,
  moments,
  standard_deviation,
)
from kdjax.losses.numerics import promote_embeddings


def gaussian_wasserstein2(student: jax.Array, teacher: jax.Array) -> jax.Array:
  r"""Computes the squared 2-Wasserstein distance of diagonal Gaussians.

  .. math::
    W_2^2 = \lVert \mu_X - \mu_Y \rVert^2 + \lVert s_X - s_Y \rVert^2

  with the standard deviation :math:`s` of each feature (divisor :math:`n`). A
  feature that is constant over the batch has :math:`s = 0`; only its mean has
  a gradient.

  Args:
    student: :math:`X`, float `[n, d]`.
    teacher: :math:`Y`, float `[m, d]`.

  Returns:
    A scalar, in at least float32: a squared distance summed over the features.

  Raises:
    ValueError: If the widths differ or a batch is empty.

  References:
    Fernandes Montesuma, `KD²M <https://arxiv.org/abs/2504.01757>`_, 2025.

  Examples:
    >>> import jax.numpy as jnp
    >>> from kdjax import losses
    >>> student = jnp.array([[0.0], [2.0]])  # mean 1, variance 1
    >>> teacher = jnp.array([[5.0], [1.0]])  # mean 3, variance 4
    >>> distance = losses.gaussian_wasserstein2(student, teacher)
    >>> print(round(float(distance), 4))
    5.0
  """
  student, teacher = promote_embeddings(
    'gaussian_wasserstein2', student, teacher
  )
  return _wasserstein2(moments(student), moments(teacher))


def gaussian_wasserstein2_by_class(
  student: jax.Array, teacher: jax.Array, one_hot: jax.Array
) -> jax.Array:
  """Computes `gaussian_wasserstein2` of each class; see `per_class`."""
  return _wasserstein2(
    class_moments(student, one_hot), class_moments(teacher, one_hot)
  )


def gaussian_kl(
  student: jax.Array, teacher: jax.Array, *, ridge: ArrayLike = 1e-3
) -> jax.Array:
  r"""Computes KL(student || teacher) of Gaussians with diagonal covariance.

  .. math::
    \frac12 \sum_k \left[ \frac{v_{Xk}}{v_{Yk}}
      + \frac{(\mu_{Xk} - \mu_{Yk})^2}{v_{Yk}} - 1
      + \log v_{Yk} - \log v_{Xk} \right], \qquad v = \mathrm{var} + r

  It is non-negative, and zero if the moments agree. Exchange the arguments for
  the other direction. The KD²M code adds no ridge to the variances but 1e-9 to
  the denominators, which gives :math:`-\infty` for a feature that is constant
  in the teacher's batch.

  Args:
    student: :math:`X`, float `[n, d]`.
    teacher: :math:`Y`, float `[m, d]`.
    ridge: :math:`r`, in the unit of a variance. Zero is valid only if no
      feature is constant. Not checked, because it may be traced.

  Returns:
    A scalar in nats, in at least float32.

  Raises:
    ValueError: If the widths differ or a batch is empty.

  References:
    Fernandes Montesuma, `KD²M <https://arxiv.org/abs/2504.01757>`_, 2025.

  Examples:
    >>> import jax.numpy as jnp
    >>> from kdjax import losses
    >>> student = jnp.array([[0.0], [2.0]])  # mean 1, variance 1
    >>> teacher = jnp.array([[5.0], [1.0]])  # mean 3, variance 4
    >>> divergence = losses.gaussian_kl(student, teacher, ridge=0.0)
    >>> print(round(float(divergence), 4))
    0.8181
  """
  student, teacher = promote_embeddings('gaussian_kl', student, teacher)
  return _kl(moments(student), moments(teacher), ridge)


def gaussian_kl_by_class(
  student: jax.Array,
  teacher: jax.Array,
  one_hot: jax.Array,
  *,
  ridge: ArrayLike = 1e-3,
) -> jax.Array:
  """Computes `gaussian_kl` of each class; see `per_class`."""
  return _kl(
    class_moments(student, one_hot), class_moments(teacher, one_hot), ridge
  )


def gaussian_jeffreys(
  student: jax.Array, teacher: jax.Array, *, ridge: ArrayLike = 1e-3
) -> jax.Array:
  r"""Computes the Jeffreys divergence of Gaussians with diagonal covariance.

  KL(student || teacher) + KL(teacher || student):

  .. math::
    \frac12 \sum_k \left[ \frac{(v_{Xk} - v_{Yk})^2}{v_{Xk} v_{Yk}}
      + (\mu_{Xk} - \mu_{Yk})^2
        \left( \frac1{v_{Xk}} + \frac1{v_{Yk}} \right) \right]

  Args:
    student: :math:`X`, float `[n, d]`.
    teacher: :math:`Y`, float `[m, d]`.
    ridge: Added to the variances; see `gaussian_kl`.

  Returns:
    A scalar in nats, in at least float32: the sum of both directions, not half
    of it.

  Raises:
    ValueError: If the widths differ or a batch is empty.
  """
  student, teacher = promote_embeddings('gaussian_jeffreys', student, teacher)
  return _jeffreys(moments(student), moments(teacher), ridge)


def gaussian_jeffreys_by_class(
  student: jax.Array,
  teacher: jax.Array,
  one_hot: jax.Array,
  *,
  ridge: ArrayLike = 1e-3,
) -> jax.Array:
  """Computes `gaussian_jeffreys` of each class; see `per_class`."""
  return _jeffreys(
    class_moments(student, one_hot), class_moments(teacher, one_hot), ridge
  )


def _wasserstein2(student: Moments, teacher: Moments) -> jax.Array:
  """Computes the distance from the moments, over the last axis."""
  means = student[0] - teacher[0]
  deviations = standard_deviation(*student) - standard_deviation(*teacher)
  return jnp.sum(means**2 + deviations**2, axis=-1)


def _kl(student: Moments, teacher: Moments, ridge: ArrayLike) -> jax.Array:
  """Computes the divergence from the moments, over the last axis."""
  (mean_x, v_x), (mean_y, v_y) = student, teacher
  excess = (v_x - v_y) / (v_y + ridge)  # v_X / v_Y - 1
  means = (mean_x - mean_y) ** 2 / (v_y + ridge)
  return jnp.sum(excess - jnp.log1p(excess) + means, axis=-1) / 2


def _jeffreys(
  student: Moments, teacher: Moments, ridge: ArrayLike
) -> jax.Array:
  """Computes the divergence from the moments, over the last axis."""
  (mean_x, v_x), (mean_y, v_y) = student, teacher
  v_x, v_y = v_x + ridge, v_y + ridge
  variances = (v_x - v_y) ** 2 / (v_x * v_y)
  means = (mean_x - mean_y) ** 2 * (1 / v_x + 1 / v_y)
  return jnp.sum(variances + means, axis=-1) / 2
