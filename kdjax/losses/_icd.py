"""ICD: contrast and invariance between two batches of embeddings."""

import jax
import jax.numpy as jnp

from kdjax.losses.numerics import full_precision, matmul, unit


def icd(
  student: jax.Array,
  teacher: jax.Array,
  *,
  scale: jax.typing.ArrayLike,
  bias: jax.typing.ArrayLike = 0.0,
  invariance_weight: float = 0.5,
) -> jax.Array:
  r"""Contrastive and invariance terms of ICD (also published as DCD).

  With unit rows :math:`u_i` (student) and :math:`v_j` (teacher),
  :math:`L_{ij} = s \langle u_i, v_j \rangle + b`,
  :math:`P_{i\cdot} = \mathrm{softmax}(L_{i\cdot})` and
  :math:`Q_{i\cdot} = \mathrm{softmax}(L_{\cdot i})`, example :math:`i` costs

  .. math::
    \ell_i = -\log P_{ii} + \alpha \sum_j Q_{ij} (\log Q_{ij} - \log P_{ij}) .

  Gradients flow through both P and Q. The other rows of the batch are the
  negatives, so the value depends on the whole (global) batch; b cancels in both
  softmaxes and is there for parity with published checkpoints.

  Args:
    student: Projected student embeddings, `[B, D]`; normalised here.
    teacher: Projected teacher embeddings, `[B, D]`.
    scale: s, a multiplier (an inverse temperature).
    bias: b.
    invariance_weight: :math:`\alpha`.

  Returns:
    `[B]`, float32 at least, in nats.

  Raises:
    ValueError: If the shapes differ or are not `[B, D]`.

  References:
    Giakoumoglou and Stathaki, `arXiv 2407.11802
    <https://arxiv.org/abs/2407.11802>`_. The mean over the batch is the loss of
    the authors' code.
  """
  logits = icd_logits(student, teacher, scale=scale, bias=bias)
  log_p = jax.nn.log_softmax(logits, axis=1)
  log_q = jax.nn.log_softmax(logits.T, axis=1)
  invariance = jnp.sum(jnp.exp(log_q) * (log_q - log_p), axis=1)
  return -jnp.diagonal(log_p) + invariance_weight * invariance


def icd_logits(
  student: jax.Array,
  teacher: jax.Array,
  *,
  scale: jax.typing.ArrayLike,
  bias: jax.typing.ArrayLike = 0.0,
) -> jax.Array:
  """The L of `icd`, `[B, B]`: rows are the student's, columns the teacher's.

  Arguments and errors are those of `icd`.
  """
  if student.shape != teacher.shape or student.ndim != 2:
    raise ValueError(
      'icd needs two batches [B, D] of one shape, got student '
      f'{student.shape} and teacher {teacher.shape}.'
    )
  u, v = unit(full_precision(student)), unit(full_precision(teacher))
  return jnp.asarray(scale * matmul(u, v.T) + bias)
