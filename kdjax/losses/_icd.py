"""ICD: contrastive and invariance loss between two batches of embeddings."""

# pyright: reportUnknownMemberType=false

from typing import cast

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from kdjax.losses.numerics import full_precision, matmul, unit_rows


def icd(
  student: jax.Array,
  teacher: jax.Array,
  *,
  scale: ArrayLike,
  bias: ArrayLike = 0.0,
  invariance_weight: float = 0.5,
) -> jax.Array:
  r"""Computes the contrastive and invariance terms of ICD (also called DCD).

  With the normalized rows :math:`u_i` (student) and :math:`v_j` (teacher),
  :math:`L_{ij} = s \langle u_i, v_j \rangle + b`,
  :math:`P_{i\cdot} = \mathrm{softmax}(L_{i\cdot})` and
  :math:`Q_{i\cdot} = \mathrm{softmax}(L_{\cdot i})`, the loss of example
  :math:`i` is

  .. math::
    \ell_i = -\log P_{ii} + \alpha \sum_j Q_{ij} (\log Q_{ij} - \log P_{ij}) .

  Gradients flow through P and Q. The other rows of the batch are the
  negatives, so the value depends on the whole (global) batch. b cancels in both
  softmaxes; it exists for compatibility with published checkpoints.

  Args:
    student: Projected student embeddings, float `[B, D]`, not normalized.
    teacher: Projected teacher embeddings, float `[B, D]`, not normalized.
    scale: s, the inverse temperature.
    bias: b.
    invariance_weight: :math:`\alpha`.

  Returns:
    `[B]`, one value per example, in nats and in at least float32.

  Raises:
    ValueError: If the shapes differ or are not `[B, D]`.

  References:
    Giakoumoglou and Stathaki, `arXiv 2407.11802
    <https://arxiv.org/abs/2407.11802>`_, 2024. The mean over the batch is the
    loss of the authors' code.

  Examples:
    >>> import jax.numpy as jnp
    >>> from kdjax import losses
    >>> student = 3 * jnp.eye(2)
    >>> print(losses.icd(student, jnp.eye(2), scale=2.0).round(4))
    [0.1269 0.1269]
  """
  logits = icd_logits(student, teacher, scale=scale, bias=bias)
  log_p = jax.nn.log_softmax(logits, axis=1)
  log_q = jax.nn.log_softmax(logits.T, axis=1)
  invariance = jnp.sum(jnp.exp(log_q) * (log_q - log_p), axis=1)
  matched = cast(jax.Array, jnp.diagonal(log_p))
  return -matched + invariance_weight * invariance


def icd_logits(
  student: jax.Array,
  teacher: jax.Array,
  *,
  scale: ArrayLike,
  bias: ArrayLike = 0.0,
) -> jax.Array:
  """Computes the logits L of `icd`.

  Args:
    student: Projected student embeddings, float `[B, D]`, not normalized.
    teacher: Projected teacher embeddings, float `[B, D]`, not normalized.
    scale: Inverse temperature, multiplied with the cosines.
    bias: Added to the scaled cosines.

  Returns:
    `[B, B]`, in at least float32: rows belong to the student, columns to the
    teacher.

  Raises:
    ValueError: If the shapes differ or are not `[B, D]`.
  """
  if student.shape != teacher.shape or student.ndim != 2:
    raise ValueError(
      'icd needs two batches [B, D] of one shape, got student '
      f'{student.shape} and teacher {teacher.shape}.'
    )
  u, v = unit_rows(full_precision(student)), unit_rows(full_precision(teacher))
  return jnp.asarray(scale * matmul(u, v.T) + bias)
