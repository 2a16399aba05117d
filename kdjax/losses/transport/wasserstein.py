"""Exact optimal transport between two batches of embeddings."""

# pyright: reportUnknownMemberType=false

from collections.abc import Callable
from typing import cast

import jax
import jax.numpy as jnp

from kdjax.losses._moments import class_means
from kdjax.losses.numerics import matmul, promote_embeddings
from kdjax.losses.transport.assignment import Assignment, exact_assignment
from kdjax.losses.transport.cost import row_distances, squared_distances
from kdjax.losses.transport.transportation import transport_plan

Assign = Callable[[jax.Array], Assignment]


def wasserstein2(
  student: jax.Array, teacher: jax.Array, *, assign: Assign = exact_assignment
) -> jax.Array:
  r"""Computes the squared 2-Wasserstein distance of two batches.

  All samples of a batch have the same weight:

  .. math::
    W_2^2 = \min_\gamma \sum_{ij} \gamma_{ij} \lVert x_i - y_j \rVert^2,
    \qquad \sum_j \gamma_{ij} = \tfrac1n, \quad \sum_i \gamma_{ij} = \tfrac1m

  It is exact and computed on the device. For :math:`n = m` the best
  :math:`\gamma` is a permutation :math:`\sigma` divided by :math:`n`. The plan
  is constant in the gradient, :math:`\frac2n (x_i - y_{\sigma(i)})`, which is
  exact if the optimal plan is unique.

  The distance is that of the whole batch, over all devices. The mean over
  smaller batches is a different, larger quantity.

  Args:
    student: :math:`x`, float `[n, d]`.
    teacher: :math:`y`, float `[m, d]`.
    assign: Solver for n = m: `exact_assignment` or `auction_assignment`. Any
      permutation gives an upper bound; `wasserstein2_gap` bounds its error.

  Returns:
    A scalar, in at least float32: a squared distance summed over the features.

  Raises:
    ValueError: If the widths differ or a batch is empty.

  References:
    Fernandes Montesuma, `KD²M <https://arxiv.org/abs/2504.01757>`_, 2025.

  Examples:
    >>> import jax.numpy as jnp
    >>> from kdjax import losses
    >>> student = jnp.array([[0.0], [2.0]])
    >>> teacher = jnp.array([[5.0], [1.0]])
    >>> distance = losses.wasserstein2(student, teacher)
    >>> print(round(float(distance), 4))  # the pairs (0, 1) and (2, 5)
    5.0
  """
  student, teacher = promote_embeddings('wasserstein2', student, teacher)
  cost = squared_distances(student, teacher)
  if len(student) != len(teacher):
    plan = cast(jax.Array, transport_plan(cost))
    return jnp.sum(plan * cost)
  columns = assign(cost).columns
  return jnp.mean(row_distances(student, teacher[columns]))


def wasserstein2_gap(
  student: jax.Array, teacher: jax.Array, *, assign: Assign
) -> jax.Array:
  r"""Computes an upper bound of the error of `wasserstein2` by a solver.

  .. math::
    W_2^2 \in [v - g, v]

  for the value :math:`v` of `wasserstein2` and the result :math:`g`. Every
  solver returns prices :math:`u_i + v_j \le C_{ij}`, which bound the cost of
  all plans from below (duality of linear programs). The bound therefore holds
  for any solver, up to the rounding of its sums.

  Args:
    student: Float `[n, d]`.
    teacher: Float `[m, d]`.
    assign: The solver, as in `wasserstein2`.

  Returns:
    A scalar in the unit of `wasserstein2`, without gradient; zero for n != m,
    which is solved exactly without `assign`.

  Raises:
    ValueError: If the widths differ or a batch is empty.
  """
  student, teacher = promote_embeddings('wasserstein2_gap', student, teacher)
  if len(student) != len(teacher):
    return jnp.zeros((), student.dtype)
  return assign(squared_distances(student, teacher)).gap


def wasserstein2_by_class(
  student: jax.Array,
  teacher: jax.Array,
  one_hot: jax.Array,
  *,
  assign: Assign = exact_assignment,
) -> jax.Array:
  """Computes `wasserstein2` of each class; see `per_class`.

  It is one assignment in which pairs of different classes cost more than any
  exchange could save, so the optimum contains no such pair.
  """
  cost = squared_distances(student, teacher)
  same = matmul(one_hot, one_hot.T)
  # Twice the largest cost: a larger penalty would cost digits of the rest.
  columns = assign(cost + 2 * jnp.max(cost) * (1 - same)).columns
  return class_means(row_distances(student, teacher[columns]), one_hot)
