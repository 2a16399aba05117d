r"""KD²M's theorem on the images at hand: both sides of it, as numbers.

.. math::
  \frac{|R_S(h) - R_T(h)|}{L} \le W_2(P_S, P_T)
    \le \Bigl(\frac1n \sum_i \lVert x_i - y_i \rVert^2\Bigr)^{1/2}

with :math:`P_S, P_T` the laws of the student's and the teacher's embeddings
:math:`x_i, y_i` of the same images. What it says, what not, and where
:math:`L` comes from: docs/theorem.md.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct

from kdjax import losses
from kdjax.methods.base import Pass
from kdjax.methods.linear import apply_linear

Head = Callable[[jax.Array], jax.Array]

# Arithmetic in bfloat16 stays within; a head of another kind does not.
_NOT_AFFINE = 0.02


@struct.dataclass
class AffineHead:
  """Logits that are an affine function of the embedding.

  Attributes:
    kernel: `[K, D]`, a row for each class.
    bias: `[K]`.
  """

  kernel: jax.Array
  bias: jax.Array

  def __call__(self, embedding: jax.Array) -> jax.Array:
    """Logits `[n, K]` of embeddings `[n, D]`, without TF32 or bfloat16."""
    layer = {'kernel': self.kernel.T, 'bias': self.bias}
    return apply_linear(layer, embedding)


def affine_head(head: Head, embedding: jax.Array) -> AffineHead:
  """The affine map that a head is: its value and its slope at zero.

  Args:
    head: Any function of embeddings `[n, D]` to logits `[n, K]`.
    embedding: Where it is put to the test, `[n, D]`.

  Returns:
    The map, in at least float32; all NaN if the head is another one, further
    from it on `embedding` than 2 % of the logits' size.
  """
  zero = jnp.zeros_like(embedding[:1])
  kernel = jax.jacrev(lambda row: head(row)[0])(zero)[:, 0]
  found = AffineHead(*map(losses.full_precision, (kernel, head(zero)[0])))
  logits = losses.full_precision(head(embedding))
  error = jnp.linalg.norm(found(losses.full_precision(embedding)) - logits)
  fits = error <= _NOT_AFFINE * jnp.linalg.norm(logits)
  return jax.tree.map(lambda array: jnp.where(fits, array, jnp.nan), found)


def feature_distances(
  student: jax.Array, teacher: jax.Array
) -> dict[str, jax.Array]:
  r"""The right side: `w2`, and `paired`, which it never exceeds.

  Roots, in the unit of a feature. Both are costs of a plan between the two
  batches, and the cheaper one is the minimum: rounding in the search for the
  best plan cannot turn the inequality around.

  Args:
    student: :math:`x`, float `[n, d]`.
    teacher: :math:`y`, float `[n, d]`, of the same images.
  """
  paired = losses.paired_distance(student, teacher)
  squared = jnp.minimum(losses.wasserstein2(student, teacher), paired)
  return {'w2': jnp.sqrt(squared), 'paired': jnp.sqrt(paired)}


def head_risks(
  student: jax.Array,
  teacher: jax.Array,
  head: AffineHead,
  labelling: AffineHead,
) -> dict[str, jax.Array]:
  r"""The left side: how wrong one head is on each of the two laws.

  .. math::
    R_P(h) = E_{z \sim P}\, \tfrac12
      \lVert \mathrm{softmax}\, h(z) - \mathrm{softmax}\, f_0(z) \rVert_1

  with the student's head as :math:`h` and the teacher's as the labelling
  function :math:`f_0`. In :math:`z` it is Lipschitz with

  .. math::
    L = \tfrac14 \max_{jk} \lVert w_j - w_k \rVert
      + \tfrac14 \max_{jk} \lVert v_j - v_k \rVert

  for the rows :math:`w` of one kernel and :math:`v` of the other, because the
  total variation of a softmax moves by at most a quarter of the spread of the
  logits' changes.

  Args:
    student: Float `[n, d]`, samples of :math:`P_S`.
    teacher: Float `[n, d]`, as many of :math:`P_T`.
    head: :math:`h`.
    labelling: :math:`f_0`, of the same number of classes.

  Returns:
    `risk_student` and `risk_teacher`, in [0, 1]; `lipschitz`, per unit of a
    feature; and `risk_gap`, their difference over it, in the unit of a feature:
    zero where neither head looks at the embedding.
  """

  def risk(rows):
    wrong = jax.nn.softmax(head(rows)) - jax.nn.softmax(labelling(rows))
    return jnp.mean(jnp.sum(jnp.abs(wrong), axis=-1)) / 2

  # One computation for both: equal batches have equal risks, to the bit.
  laws = jnp.stack(
    [losses.full_precision(student), losses.full_precision(teacher)]
  )
  at_student, at_teacher = jax.lax.map(risk, laws)
  lipschitz = (_spread(head.kernel) + _spread(labelling.kernel)) / 4
  gap = jnp.abs(at_student - at_teacher)
  return {
    'risk_student': at_student,
    'risk_teacher': at_teacher,
    'lipschitz': lipschitz,
    'risk_gap': jnp.where(lipschitz == 0, 0, gap / lipschitz),
  }


def risks_of(student: Pass, teacher: Pass) -> dict[str, jax.Array]:
  """`head_risks` of two networks, if they have heads that can be compared.

  NaN where a head is not affine; empty where one is unknown or the two tell
  different numbers of classes apart.
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


def _spread(kernel: jax.Array) -> jax.Array:
  """The largest distance between two rows."""
  # Row by row: all pairs at once would take classes² · width numbers.
  return jnp.sqrt(
    jax.lax.map(
      lambda row: jnp.max(jnp.sum((kernel - row) ** 2, axis=1)), kernel
    ).max()
  )
