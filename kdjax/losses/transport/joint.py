"""Transport between features and predictions together."""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from kdjax.losses.numerics import clouds, full_precision, matmul
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
  normalise: bool = False,
  assign: Assign = exact_assignment,
) -> jax.Array:
  r"""Transport cost of features and labels under one plan.

  .. math::
    JW_2^2 = \min_\gamma \sum_{ij} \gamma_{ij}
      \left( \lVert x_i - y_j \rVert^2 + \beta \, L_{ij} \right)

  The plan is held fixed in the gradient, which reaches features and
  predictions alike. (The KD²M code measures features from student to student
  and stops their gradient; this is the paper's formula.)

  Args:
    student: :math:`x`, float `[n, d]`.
    teacher: :math:`y`, float `[m, d]`.
    label_cost: :math:`L`, float `[n, m]`, not negative: of `LABEL_COSTS`.
    beta: :math:`\beta \ge 0`, or `max`: the largest squared distance of the
      batch, without gradient, which is the balance of the KD²M code.
    normalise: Divides the features' part by that largest distance and leaves
      the labels' part alone; `beta` then is not used.
    assign: See `wasserstein2`.

  Returns:
    A scalar, squared.

  Raises:
    ValueError: If shapes do not belong together or beta is below zero.

  References:
    Fernandes Montesuma, `KD²M <https://arxiv.org/abs/2504.01757>`_, 2025.
  """
  student, teacher = clouds('joint_wasserstein2', student, teacher)
  if label_cost.shape != (len(student), len(teacher)):
    raise ValueError(
      f'label_cost must be [{len(student)}, {len(teacher)}], a number for '
      f'each pair, got {label_cost.shape}.'
    )
  cost = squared_distances(student, teacher)
  largest = jax.lax.stop_gradient(jnp.max(cost))
  scale, share = _balance(beta, largest, normalise)
  total = cost / scale + share * label_cost
  if len(student) != len(teacher):
    return jnp.sum(transport_plan(total) * total)
  columns = assign(total).columns
  distances = row_distances(student, teacher[columns]) / scale
  labels = jnp.take_along_axis(label_cost, columns[:, None], axis=1)
  return jnp.mean(distances) + share * jnp.mean(labels)


def _balance(beta, largest: jax.Array, normalise: bool):
  """What the features' part is divided by, the labels' part multiplied by."""
  if normalise:
    return jnp.where(largest > 0, largest, 1), 1.0
  if isinstance(beta, str):
    if beta != 'max':
      raise ValueError(f"beta must be a number or 'max', got {beta!r}.")
    return 1.0, largest
  if not beta >= 0:
    raise ValueError(f'beta must be zero or more, got {beta}.')
  return 1.0, beta


def _sqprob(student_logits, teacher_logits, labels):
  """Squared distance of the probabilities."""
  del labels
  return squared_distances(
    jax.nn.softmax(full_precision(student_logits)),
    jax.nn.softmax(full_precision(teacher_logits)),
  )


def _sqlogit(student_logits, teacher_logits, labels):
  """Squared distance of the logits, the KD²M code's default."""
  del labels
  return squared_distances(
    full_precision(student_logits), full_precision(teacher_logits)
  )


def _kl_st(student_logits, teacher_logits, labels):
  """KL(student i || teacher j), in nats."""
  del labels
  log_p = jax.nn.log_softmax(full_precision(student_logits))
  log_q = jax.nn.log_softmax(full_precision(teacher_logits))
  p = jnp.exp(log_p)
  return jnp.sum(p * log_p, axis=1)[:, None] - matmul(p, log_q.T)


def _ce_ts(student_logits, teacher_logits, labels):
  """Cross-entropy of student i under the probabilities of teacher j."""
  del labels
  log_p = jax.nn.log_softmax(full_precision(student_logits))
  q = jax.nn.softmax(full_precision(teacher_logits))
  return -matmul(log_p, q.T)


def _hard01(student_logits, teacher_logits, labels):
  """One where the true classes differ, else zero."""
  del teacher_logits
  dtype = full_precision(student_logits).dtype
  return (labels[:, None] != labels).astype(dtype)


# Each takes (student_logits, teacher_logits, labels) and gives [n, m].
LABEL_COSTS: dict[str, LabelCost] = {
  'sqprob': _sqprob,
  'sqlogit': _sqlogit,
  'kl_st': _kl_st,
  'ce_ts': _ce_ts,
  'hard01': _hard01,
}
