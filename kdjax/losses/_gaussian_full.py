"""Divergences of Gaussians with full covariance."""

# pyright: reportUnknownMemberType=false

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from kdjax.losses.numerics import matmul, promote_embeddings

# Mean `[d]` and a factor F `[n + d, d]` with F'F = covariance + ridge I.
Gaussian = tuple[jax.Array, jax.Array]


def gaussian_kl_full(
  student: jax.Array, teacher: jax.Array, *, ridge: ArrayLike = 1e-3
) -> jax.Array:
  r"""Computes KL(student || teacher) of Gaussians with full covariance.

  .. math::
    \frac12 \left[ \mathrm{tr}(\Sigma_Y^{-1} \Sigma_X)
      + (\mu_Y - \mu_X)^\top \Sigma_Y^{-1} (\mu_Y - \mu_X) - d
      + \log\det\Sigma_Y - \log\det\Sigma_X \right]

  with :math:`r I` added to both covariances (divisor :math:`n`). Exchange the
  arguments for the other direction.

  Args:
    student: :math:`X`, float `[n, d]`.
    teacher: :math:`Y`, float `[m, d]`.
    ridge: :math:`r`, in the unit of a variance. It must be positive unless
      n, m > d + 1: the covariances are singular otherwise and the result is
      not finite. Not checked, because it may be traced.

  Returns:
    A scalar in nats, in at least float32.

  Raises:
    ValueError: If the widths differ or a batch is empty.

  References:
    Fernandes Montesuma, `KD²M <https://arxiv.org/abs/2504.01757>`_, 2025.
  """
  pair = promote_embeddings('gaussian_kl_full', student, teacher)
  return _kl(*(_gaussian(samples, ridge) for samples in pair))


def gaussian_kl_full_by_class(
  student: jax.Array,
  teacher: jax.Array,
  one_hot: jax.Array,
  *,
  ridge: ArrayLike = 1e-3,
) -> jax.Array:
  """Computes `gaussian_kl_full` of each class; see `per_class`."""
  return _by_class(_kl, student, teacher, one_hot, ridge)


def gaussian_jeffreys_full(
  student: jax.Array, teacher: jax.Array, *, ridge: ArrayLike = 1e-3
) -> jax.Array:
  r"""Computes the Jeffreys divergence of Gaussians with full covariance.

  KL(student || teacher) + KL(teacher || student):

  .. math::
    \frac12 \left[ \mathrm{tr}(\Sigma_Y^{-1} \Sigma_X)
      + \mathrm{tr}(\Sigma_X^{-1} \Sigma_Y) - 2 d
      + \delta^\top (\Sigma_X^{-1} + \Sigma_Y^{-1}) \, \delta \right],
    \qquad \delta = \mu_X - \mu_Y

  Args:
    student: :math:`X`, float `[n, d]`.
    teacher: :math:`Y`, float `[m, d]`.
    ridge: Added to the covariances; see `gaussian_kl_full`.

  Returns:
    A scalar in nats, in at least float32: the sum of both directions, not half
    of it.

  Raises:
    ValueError: If the widths differ or a batch is empty.
  """
  pair = promote_embeddings('gaussian_jeffreys_full', student, teacher)
  return _jeffreys(*(_gaussian(samples, ridge) for samples in pair))


def gaussian_jeffreys_full_by_class(
  student: jax.Array,
  teacher: jax.Array,
  one_hot: jax.Array,
  *,
  ridge: ArrayLike = 1e-3,
) -> jax.Array:
  """Computes `gaussian_jeffreys_full` of each class; see `per_class`."""
  return _by_class(_jeffreys, student, teacher, one_hot, ridge)


def _gaussian(samples: jax.Array, ridge: ArrayLike) -> Gaussian:
  """Fits a Gaussian to samples of equal weight."""
  weights = jnp.full(len(samples), 1 / len(samples))
  return _weighted_gaussian(samples, weights, ridge)


def _weighted_gaussian(
  samples: jax.Array, weights: jax.Array, ridge: ArrayLike
) -> Gaussian:
  """Fits a Gaussian to samples `[n, d]` with weights `[n]`."""
  weights = weights.astype(samples.dtype)
  mean = matmul(weights, samples)
  centered = jnp.sqrt(weights)[:, None] * (samples - mean)
  diagonal = jnp.eye(samples.shape[1], dtype=samples.dtype)
  diagonal = jnp.sqrt(jnp.asarray(ridge, samples.dtype)) * diagonal
  return mean, jnp.concatenate([centered, diagonal])


def _by_class(
  divergence: Callable[[Gaussian, Gaussian], jax.Array],
  student: jax.Array,
  teacher: jax.Array,
  one_hot: jax.Array,
  ridge: ArrayLike,
) -> jax.Array:
  """Computes a divergence of the Gaussians of each class, `[classes]`."""
  weights = (one_hot / jnp.maximum(jnp.sum(one_hot, axis=0), 1)).T

  def of_class(weights: jax.Array) -> jax.Array:
    return divergence(
      _weighted_gaussian(student, weights, ridge),
      _weighted_gaussian(teacher, weights, ridge),
    )

  return jax.vmap(of_class)(weights)


def _jeffreys(student: Gaussian, teacher: Gaussian) -> jax.Array:
  """Computes the sum of the divergences in both directions."""
  forward, _ = _without_determinants(student, teacher)
  backward, _ = _without_determinants(teacher, student)
  return forward + backward


def _kl(student: Gaussian, teacher: Gaussian) -> jax.Array:
  """Computes KL(student || teacher)."""
  partial, root_y = _without_determinants(student, teacher)
  root_x = _triangular_root(student[1])
  return partial + _half_log_determinant(root_y) - _half_log_determinant(root_x)


def _without_determinants(
  student: Gaussian, teacher: Gaussian
) -> tuple[jax.Array, jax.Array]:
  """Computes the divergence without determinants, and the teacher's root."""
  (mean_x, factor_x), (mean_y, factor_y) = student, teacher
  root = _triangular_root(factor_y)
  rows = jnp.concatenate([factor_x, (mean_x - mean_y)[None]])
  scaled = jax.scipy.linalg.solve_triangular(root, rows.T, trans=1)
  return (jnp.sum(scaled**2) - len(mean_x)) / 2, root


def _triangular_root(factor: jax.Array) -> jax.Array:
  """Computes triangular R with R'R = F'F from F.

  The covariance itself is never computed: with fewer samples than features its
  smallest eigenvalues, which equal the ridge, would be lost to the rounding of
  the largest.
  """
  return jnp.linalg.qr(factor)[1]


def _half_log_determinant(root: jax.Array) -> jax.Array:
  """Computes half the log-determinant of R'R."""
  return jnp.sum(jnp.log(jnp.abs(jnp.diag(root))))
