"""Squared Euclidean distances of all pairs or of corresponding rows."""

# pyright: reportUnknownMemberType=false

import jax
import jax.numpy as jnp

from kdjax.losses.numerics import matmul, promote_embeddings


def paired_distance(student: jax.Array, teacher: jax.Array) -> jax.Array:
  r"""Computes the mean squared distance of the two embeddings of each image.

  .. math::
    \frac1n \sum_i \lVert x_i - y_i \rVert^2

  It is the baseline of every transport loss: the cost of the plan that assigns
  each image to itself, so it is never below :math:`W_2^2`.

  Args:
    student: :math:`x`, float `[n, d]`.
    teacher: :math:`y`, float `[n, d]`, of the same images in the same order.

  Returns:
    A scalar, in at least float32, summed over the features rather than
    averaged.

  Raises:
    ValueError: If the shapes differ.
  """
  student, teacher = promote_embeddings(
    'paired_distance', student, teacher, paired=True
  )
  return jnp.mean(row_distances(student, teacher))


def row_distances(x: jax.Array, y: jax.Array) -> jax.Array:
  """Computes the squared distance of row i of `x` to row i of `y`.

  Args:
    x: Float `[n, d]`.
    y: Float `[n, d]`.

  Returns:
    `[n]`.
  """
  return jnp.sum((x - y) ** 2, axis=1)


def squared_distances(x: jax.Array, y: jax.Array) -> jax.Array:
  r"""Computes :math:`C_{ij} = \lVert x_i - y_j \rVert^2` for all pairs.

  It is evaluated as :math:`\lVert x \rVert^2 + \lVert y \rVert^2 - 2 x \cdot y`
  relative to the joint mean. Distances do not depend on the origin, but
  features after a ReLU, all far from zero on one side, lose fewer digits.

  Args:
    x: Float `[n, d]`.
    y: Float `[m, d]`.

  Returns:
    `[n, m]`, non-negative.
  """
  center = jax.lax.stop_gradient((jnp.mean(x, 0) + jnp.mean(y, 0)) / 2)
  x, y = x - center, y - center
  squares = jnp.sum(x**2, 1)[:, None] + jnp.sum(y**2, 1)
  return jnp.maximum(squares - 2 * matmul(x, y.T), 0)


def self_distances(x: jax.Array) -> jax.Array:
  """Computes `squared_distances(x, x)` with an exactly zero diagonal.

  Args:
    x: Float `[n, d]`.

  Returns:
    `[n, n]`, non-negative.
  """
  return squared_distances(x, x) * (1 - jnp.eye(len(x), dtype=x.dtype))
