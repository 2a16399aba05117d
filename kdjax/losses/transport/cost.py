"""Squared Euclidean distances, all pairs or row by row."""

import jax
import jax.numpy as jnp

from kdjax.losses.numerics import clouds, matmul


def paired_distance(student: jax.Array, teacher: jax.Array) -> jax.Array:
  r"""Mean squared distance of the two features of one image.

  .. math::
    \frac1n \sum_i \lVert x_i - y_i \rVert^2

  The control of every transport loss: it is the cost of the plan that leaves
  each image with itself, hence never below :math:`W_2^2`.

  Args:
    student: :math:`x`, float `[n, d]`.
    teacher: :math:`y`, float `[n, d]`, of the same images in the same order.

  Returns:
    A scalar, summed over the width, not divided by it.

  Raises:
    ValueError: If the shapes differ.
  """
  student, teacher = clouds('paired_distance', student, teacher, paired=True)
  return jnp.mean(row_distances(student, teacher))


def row_distances(x: jax.Array, y: jax.Array) -> jax.Array:
  """Squared distance of row i of `x` to row i of `y`, `[n]`."""
  return jnp.sum((x - y) ** 2, axis=1)


def squared_distances(x: jax.Array, y: jax.Array) -> jax.Array:
  r""":math:`C_{ij} = \lVert x_i - y_j \rVert^2`, `[n, m]`, never negative.

  Written :math:`\lVert x \rVert^2 + \lVert y \rVert^2 - 2 x \cdot y` about the
  joint mean: distances do not change by that, while features after a ReLU, all
  far from the origin on one side, keep some more digits.
  """
  centre = jax.lax.stop_gradient((jnp.mean(x, 0) + jnp.mean(y, 0)) / 2)
  x, y = x - centre, y - centre
  squares = jnp.sum(x**2, 1)[:, None] + jnp.sum(y**2, 1)
  return jnp.maximum(squares - 2 * matmul(x, y.T), 0)


def self_distances(x: jax.Array) -> jax.Array:
  """`squared_distances(x, x)` with a diagonal that is exactly zero."""
  return squared_distances(x, x) * (1 - jnp.eye(len(x), dtype=x.dtype))
