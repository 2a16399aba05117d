"""Exact optimal transport between two batches of features."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from kdjax.losses._classes import class_means, labelled
from kdjax.losses.numerics import clouds, matmul
from kdjax.losses.transport.assignment import Assignment, exact_assignment
from kdjax.losses.transport.cost import row_distances, squared_distances
from kdjax.losses.transport.transportation import transport_plan

Assign = Callable[[jax.Array], Assignment]


def wasserstein2(
  student: jax.Array, teacher: jax.Array, *, assign: Assign = exact_assignment
) -> jax.Array:
  r"""Squared 2-Wasserstein distance of two batches, all samples of one weight.

  .. math::
    W_2^2 = \min_\gamma \sum_{ij} \gamma_{ij} \lVert x_i - y_j \rVert^2,
    \qquad \sum_j \gamma_{ij} = \tfrac1n, \quad \sum_i \gamma_{ij} = \tfrac1m

  exactly, on the device; for :math:`n = m` the best :math:`\gamma` is a
  permutation :math:`\sigma` over :math:`n`. The plan is held fixed in the
  gradient, :math:`\frac2n (x_i - y_{\sigma(i)})`, which is the derivative
  wherever the optimum is unique.

  All samples of the batch take part, over all devices. The mean over smaller
  batches is another, larger quantity.

  Args:
    student: :math:`x`, float `[n, d]`.
    teacher: :math:`y`, float `[m, d]`.
    assign: Solves the case n = m; `auction_assignment` is the alternative. Any
      permutation gives an upper bound; `wasserstein2_gap` says how near.

  Returns:
    A scalar, squared, summed over the width.

  Raises:
    ValueError: If the widths differ or a batch is empty.

  References:
    Fernandes Montesuma, `KD²M <https://arxiv.org/abs/2504.01757>`_, 2025.
  """
  student, teacher = clouds('wasserstein2', student, teacher)
  cost = squared_distances(student, teacher)
  if len(student) != len(teacher):
    return jnp.sum(transport_plan(cost) * cost)
  columns = assign(cost).columns
  return jnp.mean(row_distances(student, teacher[columns]))


def wasserstein2_gap(
  student: jax.Array, teacher: jax.Array, *, assign: Assign
) -> jax.Array:
  r"""How far `wasserstein2` by this solver may be above the optimum.

  .. math::
    W_2^2 \in [v - g, v]

  for the value :math:`v` of `wasserstein2` and :math:`g` from here: prices
  :math:`u_i + v_j \le C_{ij}`, which every solver ends with, bound all plans
  from below (duality of linear programmes). So the gap is certified, whatever
  the solver did, up to the rounding of its sums.

  Args:
    student: Float `[n, d]`.
    teacher: Float `[m, d]`.
    assign: The solver, as in `wasserstein2`.

  Returns:
    A scalar in the unit of `wasserstein2`, without gradient; zero for n != m,
    which is solved exactly, without `assign`.

  Raises:
    ValueError: If the widths differ or a batch is empty.
  """
  student, teacher = clouds('wasserstein2_gap', student, teacher)
  if len(student) != len(teacher):
    return jnp.zeros((), student.dtype)
  return assign(squared_distances(student, teacher)).gap


def wasserstein2_per_class(
  student: jax.Array,
  teacher: jax.Array,
  labels: jax.Array,
  classes: int,
  *,
  assign: Assign = exact_assignment,
) -> jax.Array:
  """`wasserstein2` between the samples of each class.

  All classes at once: one assignment in which pairs of different classes cost
  more than any exchange could save, so that none is left.

  Args:
    student: Float `[n, d]`.
    teacher: Float `[n, d]`, of the same images.
    labels: Integer `[n]`.
    classes: How many there are.
    assign: See `wasserstein2`.

  Returns:
    `[classes]`; zero for a class without samples.

  Raises:
    ValueError: If shapes do not belong together.
  """
  student, teacher, member = labelled(
    'wasserstein2_per_class', student, teacher, labels, classes
  )
  cost = squared_distances(student, teacher)
  same = matmul(member, member.T)
  # Not more than twice the largest cost: digits of the rest would be lost.
  columns = assign(cost + 2 * jnp.max(cost) * (1 - same)).columns
  return class_means(row_distances(student, teacher[columns]), member)
