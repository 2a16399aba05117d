"""Transport between Gaussians of full covariance, without d x d roots."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from kdjax.losses._classes import class_means, labelled
from kdjax.losses.numerics import clouds, matmul, whole
from kdjax.losses.transport.cost import row_distances

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


def polar_newton_schulz(matrix: jax.Array) -> jax.Array:
  r"""The same by products alone: no library's threads, no waiting on a host.

  .. math::
    Q_0 = M / \lVert M \rVert_F, \qquad
    Q_{k+1} = \tfrac32 a_k Q_k - \tfrac12 a_k^3 Q_k Q_k^\top Q_k

  takes singular values to 1 from below, small ones by half more per step for
  :math:`a_k = 1`, faster with the :math:`a_k` of `_scales`. A last polynomial
  then tells 1 from 0: a direction whose singular value is well below
  :math:`\epsilon^{3/4}` of the norm, for numbers of precision
  :math:`\epsilon`, is left out as rounding.

  Args:
    matrix: M, float `[p, q]`.

  Returns:
    `[p, q]`; no singular value is above 1.

  References:
    Chen and Chow, A stable scaling of Newton-Schulz for improving the sign
    function computation of a Hermitian matrix, ANL/MCS-P5059-0114, 2014.
  """
  if matrix.shape[0] > matrix.shape[1]:
    return polar_newton_schulz(matrix.T).T
  epsilon = float(jnp.finfo(matrix.dtype).eps)
  scales = jnp.asarray(_scales(epsilon**0.75, epsilon**0.5), matrix.dtype)
  norm = jnp.linalg.norm(matrix)

  # Q Q' first: the smaller product, and Q' Q takes Eigen a fifth longer.
  def step(k, q):
    q = scales[k] * q
    return 1.5 * q - 0.5 * matmul(matmul(q, q.T), q)

  start = whole(matrix) / jnp.where(norm > 0, norm, 1)
  q = jax.lax.fori_loop(0, len(scales), step, start)
  # x -> (5 x^3 - 3 x^5) / 2: slope zero at 0 and at 1, never above 1.
  gram = matmul(q, q.T)
  return matmul(2.5 * gram - 1.5 * matmul(gram, gram), q)


def _scales(least: float, tolerance: float) -> list[float]:
  """The factors that take singular values in [least, 1] to 1 in fewest steps.

  A step takes x to 1.5 a x - 0.5 (a x)^3, at most 1, and does most for the
  smallest where that and 1 become equal. The bound keeps what is large from
  becoming so small that rounding would turn its direction.
  """
  scales = []
  while least < 1 - tolerance:
    a = min((3 / (1 + least + least**2)) ** 0.5, 1.6)
    scales.append(a)
    least = min(1.5 * a * x - 0.5 * (a * x) ** 3 for x in (least, 1.0))
  return scales


def gaussian_wasserstein2_full(
  student: jax.Array,
  teacher: jax.Array,
  *,
  ridge: float = 0.0,
  polar: Polar = polar_newton_schulz,
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
    polar: Finds :math:`Q`; `polar_svd` is the alternative. On an idle CPU they
      take about the same time (`benchmarks/transport.py`); on a busy one
      LAPACK's threads wait for each other.

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
  polar: Polar = polar_newton_schulz,
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
