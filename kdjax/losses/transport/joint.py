"""Optimal transport of features and predictions under one plan."""

from collections.abc import Callable
from typing import Literal, cast

import jax
import jax.numpy as jnp

from kdjax.losses.numerics import (
  full_precision,
  matmul,
  promote_embeddings,
)
from kdjax.losses.transport.assignment import exact_assignment
from kdjax.losses.transport.cost import row_distances, squared_distances
from kdjax.losses.transport.transportation import transport_plan
from kdjax.losses.transport.wasserstein import Assign

LabelCost = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


def joint_wasserstein2(
  student: jax.Array,
  teacher: jax.Array,
  label_cost: jax.Array,
  *,
  beta: float | Literal['max'] = 'max',
  normalize: bool = False,
  assign: Assign = exact_assignment,
) -> jax.Array:
  r"""Computes the transport cost of features and labels under one plan.

  .. math::
    JW_2^2 = \min_\gamma \sum_{ij} \gamma_{ij}
      \left( \lVert x_i - y_j \rVert^2 + \beta \, L_{ij} \right)

  The plan is constant in the gradient, which flows to features and
  predictions. This is the formula of the paper; the KD²M code measures
  features from student to student and stops their gradient.

  Args:
    student: :math:`x`, float `[n, d]`.
    teacher: :math:`y`, float `[m, d]`.
    label_cost: :math:`L`, non-negative float `[n, m]`, for example from
      `LABEL_COSTS`.
    beta: :math:`\beta \ge 0`, or `max` for the largest squared distance of the
      batch, without gradient, as in the KD²M code.
    normalize: Whether to divide the squared distances of the features by the
      largest one and add the label cost unscaled; `beta` is then unused.
    assign: Solver for n = m, as in `wasserstein2`.

  Returns:
    A scalar, in at least float32: a squared distance, or without unit if
    `normalize`.

  Raises:
    ValueError: If the shapes are inconsistent or beta is negative or unknown.

  References:
    Fernandes Montesuma, `KD²M <https://arxiv.org/abs/2504.01757>`_, 2025.
  """
  student, teacher = promote_embeddings('joint_wasserstein2', student, teacher)
  if label_cost.shape != (len(student), len(teacher)):
    raise ValueError(
      f'label_cost must be [{len(student)}, {len(teacher)}], one number for '
      f'each pair, got {label_cost.shape}.'
    )
  cost = squared_distances(student, teacher)
  largest = jax.lax.stop_gradient(jnp.max(cost))
  divisor, factor = _scales(beta, largest, normalize)
  total = cost / divisor + factor * label_cost
  if len(student) != len(teacher):
    plan = cast(jax.Array, transport_plan(total))
    return jnp.sum(plan * total)
  columns = assign(total).columns
  distances = row_distances(student, teacher[columns]) / divisor
  labels = jnp.take_along_axis(label_cost, columns[:, None], axis=1)
  return jnp.mean(distances) + factor * jnp.mean(labels)


def _scales(
  beta: float | str, largest: jax.Array, normalize: bool
) -> tuple[jax.Array | float, jax.Array | float]:
  """Returns the divisor of the distances and the factor of the label cost."""
  if normalize:
    return jnp.where(largest > 0, largest, 1), 1.0
  if isinstance(beta, str):
    if beta != 'max':
      raise ValueError(f"beta must be a number or 'max', got {beta!r}.")
    return 1.0, largest
  if not beta >= 0:
    raise ValueError(f'beta must be zero or more, got {beta}.')
  return 1.0, beta


def _sqprob(
  student_logits: jax.Array, teacher_logits: jax.Array, labels: jax.Array
) -> jax.Array:
  """Computes squared distances of the class probabilities."""
  del labels
  return squared_distances(
    jax.nn.softmax(full_precision(student_logits)),
    jax.nn.softmax(full_precision(teacher_logits)),
  )


def _sqlogit(
  student_logits: jax.Array, teacher_logits: jax.Array, labels: jax.Array
) -> jax.Array:
  """Computes squared distances of the logits, the default of the KD²M code.

  The difference of two logits of -inf is zero.
  """
  del labels
  student = full_precision(student_logits)
  teacher = full_precision(teacher_logits)
  x, y = student == -jnp.inf, teacher == -jnp.inf
  distances = squared_distances(
    jnp.where(x, 0, student), jnp.where(y, 0, teacher)
  )
  differ = _count(x, ~y) + _count(~x, y)
  return jnp.where(differ > 0, jnp.inf, distances)


def _kl_st(
  student_logits: jax.Array, teacher_logits: jax.Array, labels: jax.Array
) -> jax.Array:
  """Computes KL(student i || teacher j), in nats."""
  del labels
  log_p = jax.nn.log_softmax(full_precision(student_logits))
  log_q = jax.nn.log_softmax(full_precision(teacher_logits))
  p = jnp.exp(log_p)
  entropy = -jnp.sum(p * jnp.where(log_p > -jnp.inf, log_p, 0), axis=1)
  return _cross(p, log_q) - entropy[:, None]


def _ce_ts(
  student_logits: jax.Array, teacher_logits: jax.Array, labels: jax.Array
) -> jax.Array:
  """Computes the cross-entropy of student i with the targets of teacher j."""
  del labels
  log_p = jax.nn.log_softmax(full_precision(student_logits))
  q = jax.nn.softmax(full_precision(teacher_logits))
  return _cross(q, log_p).T


def _cross(p: jax.Array, log_q: jax.Array) -> jax.Array:
  """Computes the cross-entropies of all pairs of rows, with 0 log 0 = 0."""
  excluded = log_q == -jnp.inf
  finite = -matmul(p, jnp.where(excluded, 0, log_q).T)
  return jnp.where(_count(p > 0, excluded) > 0, jnp.inf, finite)


def _count(one: jax.Array, other: jax.Array) -> jax.Array:
  """Counts the classes that both rows of a pair have, `[n, m]`."""
  return matmul(one.astype(jnp.float32), other.astype(jnp.float32).T)


def _hard01(
  student_logits: jax.Array, teacher_logits: jax.Array, labels: jax.Array
) -> jax.Array:
  """Returns one for pairs of images of different classes, else zero."""
  del teacher_logits
  dtype = full_precision(student_logits).dtype
  return (labels[:, None] != labels).astype(dtype)


# `(student logits [n, K], teacher logits [m, K], labels [n]) -> [n, m]`.
LABEL_COSTS: dict[str, LabelCost] = {
  'sqprob': _sqprob,
  'sqlogit': _sqlogit,
  'kl_st': _kl_st,
  'ce_ts': _ce_ts,
  'hard01': _hard01,
}
