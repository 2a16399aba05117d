r"""Both sides of KD²M's theorem, computed on a batch.

.. math::
  \frac{|R_S(h) - R_T(h)|}{L} \le W_2(P_S, P_T)
    \le \Bigl(\frac1n \sum_i \lVert x_i - y_i \rVert^2\Bigr)^{1/2}

with the distributions :math:`P_S, P_T` of the student's and the teacher's
embeddings :math:`x_i, y_i` of the same images. The theorem and the derivation
of :math:`L`: docs/theorem.md.
"""

# pyright: reportUnknownMemberType=false

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from kdjax import losses
from kdjax.losses import numerics
from kdjax.methods.linear import apply_linear
from kdjax.methods.passes import Pass

# The types of some transformations are incomplete.
_jax: Any = jax

Head = Callable[[jax.Array], jax.Array]

# Largest relative error of an affine head that computes in bfloat16.
_TOLERANCE = 0.02


@struct.dataclass
class AffineHead:
  """Logits that are an affine function of the embedding.

  Attributes:
    kernel: `[K, D]`, one row per class.
    bias: `[K]`.
  """

  kernel: jax.Array
  bias: jax.Array

  def __call__(self, embedding: jax.Array) -> jax.Array:
    """Returns logits `[n, K]` of embeddings `[n, D]`, at full precision."""
    layer = {'kernel': self.kernel.T, 'bias': self.bias}
    return apply_linear(layer, embedding)


def affine_head(head: Head, embedding: jax.Array) -> AffineHead:
  """Returns the affine map that a head computes: its value and slope at zero.

  Args:
    head: Any function of embeddings `[n, D]` to logits `[n, K]`.
    embedding: Embeddings at which the two are compared, `[n, D]`.

  Returns:
    The map, in at least float32; all NaN if the head is not affine: if the two
    differ on `embedding` by more than 2 % of the norm of the logits.
  """
  zero = jnp.zeros_like(embedding[:1])

  def first_logits(row: jax.Array) -> jax.Array:
    return head(row)[0]

  kernel = _jax.jacrev(first_logits)(zero)[:, 0]
  affine = AffineHead(
    numerics.full_precision(kernel), numerics.full_precision(head(zero)[0])
  )
  logits = numerics.full_precision(head(embedding))
  norm = _jax.numpy.linalg.norm
  error = norm(affine(numerics.full_precision(embedding)) - logits)
  is_affine = error <= _TOLERANCE * norm(logits)

  def or_nan(array: jax.Array) -> jax.Array:
    return jnp.where(is_affine, array, jnp.nan)

  return jax.tree.map(or_nan, affine)


def feature_distances(
  student: jax.Array, teacher: jax.Array
) -> dict[str, jax.Array]:
  r"""Computes the right side: `w2`, and `paired`, which is never smaller.

  Both are the root of the cost of a transport plan between the two batches, and
  the cheaper plan is the minimum: rounding errors of the solver cannot reverse
  the inequality.

  Args:
    student: :math:`x`, float `[n, d]`.
    teacher: :math:`y`, float `[n, d]`, of the same images.

  Returns:
    Scalars in the unit of a feature.
  """
  paired = losses.paired_distance(student, teacher)
  squared = jnp.minimum(losses.wasserstein2(student, teacher), paired)
  return {'w2': jnp.sqrt(squared), 'paired': jnp.sqrt(paired)}


def head_risks(
  student: jax.Array,
  teacher: jax.Array,
  head: AffineHead,
  labeling: AffineHead,
) -> dict[str, jax.Array]:
  r"""Computes the left side: the risk of one head on both distributions.

  .. math::
    R_P(h) = E_{z \sim P}\, \tfrac12
      \lVert \mathrm{softmax}\, h(z) - \mathrm{softmax}\, f_0(z) \rVert_1

  with the student's head as :math:`h` and the teacher's as the labeling
  function :math:`f_0`. The integrand is Lipschitz in :math:`z` with

  .. math::
    L = \tfrac14 \max_{jk} \lVert w_j - w_k \rVert
      + \tfrac14 \max_{jk} \lVert v_j - v_k \rVert

  for the rows :math:`w` of one kernel and :math:`v` of the other, because the
  total variation of a softmax changes by at most a quarter of the range of the
  changes of the logits.

  Args:
    student: Float `[n, d]`, samples of :math:`P_S`.
    teacher: Float `[n, d]`, as many samples of :math:`P_T`.
    head: :math:`h`.
    labeling: :math:`f_0`, of the same number of classes.

  Returns:
    `risk_student` and `risk_teacher`, in [0, 1]; `lipschitz`, per unit of a
    feature; and `risk_gap`, the absolute difference of the risks divided by it,
    in the unit of a feature: zero where both heads are constant.
  """

  def risk(rows: jax.Array) -> jax.Array:
    error = jax.nn.softmax(head(rows)) - jax.nn.softmax(labeling(rows))
    return jnp.mean(jnp.sum(jnp.abs(error), axis=-1)) / 2

  # One computation for both: equal batches have equal risks, to the bit.
  batches = jnp.stack(
    [numerics.full_precision(student), numerics.full_precision(teacher)]
  )
  at_student, at_teacher = _jax.lax.map(risk, batches)
  lipschitz = (_diameter(head.kernel) + _diameter(labeling.kernel)) / 4
  gap = jnp.abs(at_student - at_teacher)
  return {
    'risk_student': at_student,
    'risk_teacher': at_teacher,
    'lipschitz': lipschitz,
    'risk_gap': jnp.where(lipschitz == 0, 0, gap / lipschitz),
  }


def risks_of(student: Pass, teacher: Pass) -> dict[str, jax.Array]:
  """Computes `head_risks` of two networks whose heads can be compared.

  Args:
    student: The student's pass.
    teacher: The teacher's pass over the same images.

  Returns:
    The risks; NaN where a head is not affine, and empty where a head is not
    declared or the numbers of classes differ.
  """
  x, y = student.features.embedding, teacher.features.embedding
  if not (student.has_head and teacher.has_head):
    return {}
  if student.features.logits.shape != teacher.features.logits.shape:
    return {}
  return head_risks(
    x,
    y,
    affine_head(student.head, jnp.concatenate([x, y.astype(x.dtype)])),
    affine_head(teacher.head, jnp.concatenate([y, x.astype(y.dtype)])),
  )


def _diameter(kernel: jax.Array) -> jax.Array:
  """Returns the largest distance between two rows."""

  # Row by row: all pairs at once would need classes² · width numbers.
  def farthest(row: jax.Array) -> jax.Array:
    return jnp.max(jnp.sum((kernel - row) ** 2, axis=1))

  return jnp.sqrt(jnp.max(_jax.lax.map(farthest, kernel)))
