"""Transport between Gaussians of full covariance without d x d square roots."""

# pyright: reportUnknownMemberType=false

from collections.abc import Callable
from typing import cast

import jax
import jax.numpy as jnp

from kdjax.losses._moments import class_means
from kdjax.losses.numerics import (
  machine_epsilon,
  matmul,
  promote_embeddings,
  replicated,
)
from kdjax.losses.transport.cost import row_distances

Polar = Callable[[jax.Array], jax.Array]


def polar_svd(matrix: jax.Array) -> jax.Array:
  """Computes the polar factor U V' of M = U S V' by SVD.

  Args:
    matrix: M, float `[p, q]`.

  Returns:
    `[p, q]`. Directions whose singular value is zero up to rounding are
    removed: the factor, and gradients through it, are arbitrary there.
  """
  left, values, right = jnp.linalg.svd(replicated(matrix), full_matrices=False)
  epsilon = machine_epsilon(matrix.dtype)
  floor = max(matrix.shape) ** 0.5 * epsilon * values[0]
  return replicated(matmul(left * (values > floor), right))


def polar_newton_schulz(matrix: jax.Array) -> jax.Array:
  r"""Computes the polar factor by Newton-Schulz iterations.

  It uses matrix products only, so it needs no LAPACK call on the host. The
  iteration

  .. math::
    Q_0 = M / \lVert M \rVert_F, \qquad
    Q_{k+1} = \tfrac32 a_k Q_k - \tfrac12 a_k^3 Q_k Q_k^\top Q_k

  drives singular values to 1 from below. Small ones grow by half per step for
  :math:`a_k = 1`, and faster for the :math:`a_k` of `_step_scales`. A final
  polynomial separates 1 from 0: directions whose singular value is well below
  :math:`\epsilon^{3/4}` times the norm, for the machine precision
  :math:`\epsilon`, are removed as rounding.

  Args:
    matrix: M, float `[p, q]`.

  Returns:
    `[p, q]`, with singular values of at most 1.

  References:
    Chen and Chow, A stable scaling of Newton-Schulz for improving the sign
    function computation of a Hermitian matrix, ANL/MCS-P5059-0114, 2014.
  """
  if matrix.shape[0] > matrix.shape[1]:
    return polar_newton_schulz(matrix.T).T
  epsilon = machine_epsilon(matrix.dtype)
  scales = jnp.asarray(_step_scales(epsilon**0.75, epsilon**0.5), matrix.dtype)
  norm = cast(jax.Array, jnp.linalg.norm(matrix))

  # (Q Q') Q rather than Q (Q' Q): the smaller product, and Eigen needs a fifth
  # more time for Q' Q.
  def step(k: int, q: jax.Array) -> jax.Array:
    # Whole on each device: sharded, every iteration would communicate.
    q = replicated(scales[k] * q)
    cubic = replicated(matmul(replicated(matmul(q, q.T)), q))
    return replicated(1.5 * q - 0.5 * cubic)

  start = replicated(replicated(matrix) / jnp.where(norm > 0, norm, 1))
  q = cast(jax.Array, jax.lax.fori_loop(0, len(scales), step, start))
  q = replicated(q)
  # x -> (5 x^3 - 3 x^5) / 2 has zero slope at 0 and at 1 and is at most 1.
  gram = matmul(q, q.T)
  return matmul(2.5 * gram - 1.5 * matmul(gram, gram), q)


def _step_scales(smallest: float, tolerance: float) -> list[float]:
  """Returns the step scales that need the fewest Newton-Schulz steps.

  A step maps a singular value x to 1.5 a x - 0.5 (a x)^3 <= 1. The smallest
  one grows most for the a at which it and 1 are mapped to the same value. The
  upper bound 1.6 keeps large singular values from being mapped so close to
  zero that rounding changes their directions.

  Args:
    smallest: Lower bound of the singular values; the upper bound is 1.
    tolerance: Largest final difference from 1.

  Returns:
    The scale :math:`a_k` of each step.
  """
  scales: list[float] = []
  while smallest < 1 - tolerance:
    a = min((3 / (1 + smallest + smallest**2)) ** 0.5, 1.6)
    scales.append(a)
    smallest = min(1.5 * a * x - 0.5 * (a * x) ** 3 for x in (smallest, 1.0))
  return scales


def gaussian_wasserstein2_full(
  student: jax.Array,
  teacher: jax.Array,
  *,
  ridge: float = 0.0,
  polar: Polar = polar_newton_schulz,
) -> jax.Array:
  r"""Computes the squared 2-Wasserstein distance of full Gaussians.

  .. math::
    W_2^2 = \lVert \mu_X - \mu_Y \rVert^2 + \mathrm{tr}\,\Sigma_X
      + \mathrm{tr}\,\Sigma_Y
      - 2\,\mathrm{tr} (\Sigma_X^{1/2} \Sigma_Y \Sigma_X^{1/2})^{1/2}

  The last trace equals the nuclear norm of :math:`X_c Y_c^\top / \sqrt{nm}`
  with centered :math:`X_c, Y_c`, so no covariance needs a square root, and
  singular covariances (n < d) need no special case. With the polar factor
  :math:`Q` of that matrix and n = m, the last three terms are
  :math:`\lVert X_c - Q Y_c \rVert_F^2 / n`: the best rotation of the samples,
  where `wasserstein2` has the best permutation. :math:`Q` is constant in the
  gradient, which is exact; a :math:`Q` that has not converged gives an upper
  bound.

  Args:
    student: :math:`X`, float `[n, d]`.
    teacher: :math:`Y`, float `[m, d]`.
    ridge: Added to the diagonals of both covariances; zero is valid.
    polar: Computes :math:`Q`: `polar_newton_schulz` or `polar_svd`. Both take
      about the same time on an idle CPU (`benchmarks/transport.py`); on a busy
      one the threads of LAPACK wait for each other.

  Returns:
    A scalar, in at least float32: a squared distance summed over the features.

  Raises:
    ValueError: If the widths differ, a batch is empty or the ridge is negative.

  References:
    Fernandes Montesuma, `KD²M <https://arxiv.org/abs/2504.01757>`_, 2025.
  """
  student, teacher = promote_embeddings(
    'gaussian_wasserstein2_full', student, teacher
  )
  if not ridge >= 0:
    raise ValueError(f'ridge must be zero or more, got {ridge}.')
  means = jnp.mean(student, axis=0) - jnp.mean(teacher, axis=0)
  x, y = _covariance_factor(student, ridge), _covariance_factor(teacher, ridge)
  rotated = matmul(jax.lax.stop_gradient(polar(matmul(x, y.T))), y)
  # Q is not an isometry of Y if Y has directions that X lacks.
  removed = jnp.sum(y**2) - jnp.sum(rotated**2)
  return jnp.sum(means**2) + jnp.sum((x - rotated) ** 2) + removed


def gaussian_wasserstein2_full_by_class(
  student: jax.Array,
  teacher: jax.Array,
  one_hot: jax.Array,
  *,
  polar: Polar = polar_newton_schulz,
) -> jax.Array:
  """Computes `gaussian_wasserstein2_full` of each class; see `per_class`.

  The products of samples of different classes are set to zero, so the matrix
  is block diagonal and its polar factor has those of the classes as blocks.
  """
  mean_x, mean_y = class_means(student, one_hot), class_means(teacher, one_hot)
  x = student - matmul(one_hot, mean_x)
  y = teacher - matmul(one_hot, mean_y)
  same = matmul(one_hot, one_hot.T)
  rotated = matmul(jax.lax.stop_gradient(polar(matmul(x, y.T) * same)), y)
  removed = jnp.sum(y**2 - rotated**2, axis=1)
  covariances = class_means(row_distances(x, rotated) + removed, one_hot)
  return row_distances(mean_x, mean_y) + covariances


def _covariance_factor(samples: jax.Array, ridge: float) -> jax.Array:
  """Returns F with F'F = covariance + ridge I and at most d rows."""
  n, d = samples.shape
  rows = (samples - jnp.mean(samples, axis=0)) / n**0.5
  if ridge > 0:
    rows = jnp.concatenate([rows, ridge**0.5 * jnp.eye(d, dtype=rows.dtype)])
  if len(rows) <= d:
    return rows
  basis, _ = jnp.linalg.qr(replicated(jax.lax.stop_gradient(rows)))
  return matmul(basis.T, rows)
