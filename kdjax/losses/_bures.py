"""Transport between Gaussians of full covariance, without d x d roots."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from kdjax.losses._arrays import clouds, matmul, whole
from kdjax.losses._classes import class_means, labelled
from kdjax.losses._cost import row_distances

Polar = Callable[[jax.Array], jax.Array]


def polar_svd(matrix: jax.Array) -> jax.Array:
  """Orthogonal factor U V' of M = U S V', without the null directions.

  Args:
    matrix: M, float `[p, q]`.

  Returns:
    `[p, q]`. Directions whose singular value is rounding are left out: there
    the factor, and with it a gradient, would be arbitrary.
  """
  left, values, right = jnp.linalg.svd(whole(matrix), full_matrices=False)
  floor = max(matrix.shape) ** 0.5 * jnp.finfo(matrix.dtype).eps * values[0]
  return whole(matmul(left * (values > floor), right))


def polar_newton_schulz(matrix: jax.Array, *, steps: int = 30) -> jax.Array:
  r"""The same by products alone, for accelerators.

  .. math::
    Q_0 = M / \lVert M \rVert_F, \qquad
    Q_{k+1} = \tfrac32 Q_k - \tfrac12 Q_k Q_k^\top Q_k

  Every singular value goes to 1 from below, those smaller than
  :math:`1.5^{-\mathrm{steps}}` of the norm not all the way; null directions
  stay out.

  Args:
    matrix: M, float `[p, q]`.
    steps: Of the iteration; 30 serve float32.

  Returns:
    `[p, q]`.
  """
  norm = jnp.linalg.norm(matrix)
  start = whole(matrix) / jnp.where(norm > 0, norm, 1)

  def step(_, q):
    return 1.5 * q - 0.5 * matmul(q, matmul(q.T, q))

  return jax.lax.fori_loop(0, steps, step, start)


def polar(matrix: jax.Array) -> jax.Array:
  """`polar_svd` on a CPU, `polar_newton_schulz` elsewhere."""
  return jax.lax.platform_dependent(
    matrix, cpu=polar_svd, default=polar_newton_schulz
  )


def gaussian_wasserstein2_full(
  student: jax.Array,
  teacher: jax.Array,
  *,
  ridge: float = 0.0,
  polar: Polar = polar,
) -> jax.Array:
  r"""Squared 2-Wasserstein distance of Gaussians with full covariance.

  .. math::
    W_2^2 = \lVert \mu_X - \mu_Y \rVert^2 + \mathrm{tr}\,\Sigma_X
      + \mathrm{tr}\,\Sigma_Y
      - 2\,\mathrm{tr} (\Sigma_X^{1/2} \Sigma_Y \Sigma_X^{1/2})^{1/2}

  The last trace is the nuclear norm of :math:`X_c Y_c^\top / \sqrt{nm}` with
  centred :math:`X_c, Y_c`, so that no root of a covariance is needed, and
  singular covariances (n < d) are the easy case. With the orthogonal factor
  :math:`Q` of that matrix the last three terms are
  :math:`\lVert X_c - Q Y_c \rVert_F^2 / n` for n = m: the best rotation of the
  samples where `wasserstein2` has the best permutation. :math:`Q` is held
  fixed in the gradient, which is exact; an unconverged one gives an upper
  bound.

  Args:
    student: :math:`X`, float `[n, d]`.
    teacher: :math:`Y`, float `[m, d]`.
    ridge: Added to the diagonals of both covariances; none is needed.
    polar: Finds :math:`Q`: `polar_svd`, `polar_newton_schulz`, or by platform.

  Returns:
    A scalar, squared, summed over the width.

  Raises:
    ValueError: If the widths differ, a batch is empty or the ridge is negative.

  References:
    Fernandes Montesuma, `KD²M <https://arxiv.org/abs/2504.01757>`_, 2025.
  """
  student, teacher = clouds('gaussian_wasserstein2_full', student, teacher)
  if not ridge >= 0:
    raise ValueError(f'ridge must be zero or more, got {ridge}.')
  means = jnp.mean(student, axis=0) - jnp.mean(teacher, axis=0)
  x, y = _factor(student, ridge), _factor(teacher, ridge)
  turned = matmul(jax.lax.stop_gradient(polar(matmul(x, y.T))), y)
  lost = jnp.sum(y**2) - jnp.sum(turned**2)
  return jnp.sum(means**2) + jnp.sum((x - turned) ** 2) + lost


def gaussian_wasserstein2_full_per_class(
  student: jax.Array,
  teacher: jax.Array,
  labels: jax.Array,
  classes: int,
  *,
  polar: Polar = polar,
) -> jax.Array:
  """`gaussian_wasserstein2_full` between the samples of each class.

  All classes at once: samples of different classes have product zero, and the
  orthogonal factor of such a matrix has the factor of each class for a block.

  Args:
    student: Float `[n, d]`.
    teacher: Float `[n, d]`, of the same images.
    labels: Integer `[n]`.
    classes: How many there are.
    polar: See `gaussian_wasserstein2_full`.

  Returns:
    `[classes]`; zero for a class without samples.

  Raises:
    ValueError: If shapes do not belong together.
  """
  student, teacher, member = labelled(
    'gaussian_wasserstein2_full_per_class', student, teacher, labels, classes
  )
  mean_x, mean_y = class_means(student, member), class_means(teacher, member)
  x = student - matmul(member, mean_x)
  y = teacher - matmul(member, mean_y)
  same = matmul(member, member.T)
  turned = matmul(jax.lax.stop_gradient(polar(matmul(x, y.T) * same)), y)
  lost = jnp.sum(y**2 - turned**2, axis=1)
  spreads = class_means(row_distances(x, turned) + lost, member)
  return row_distances(mean_x, mean_y) + spreads


def _factor(samples: jax.Array, ridge: float) -> jax.Array:
  """Rows F with F'F = covariance + ridge I, at most d of them."""
  n, d = samples.shape
  rows = (samples - jnp.mean(samples, axis=0)) / n**0.5
  if ridge > 0:
    rows = jnp.concatenate([rows, ridge**0.5 * jnp.eye(d, dtype=rows.dtype)])
  if len(rows) <= d:
    return rows
  basis, _ = jnp.linalg.qr(whole(jax.lax.stop_gradient(rows)))
  return matmul(basis.T, rows)
