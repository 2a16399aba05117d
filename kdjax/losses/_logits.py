"""Losses of logits, one value per example."""

# pyright: reportUnknownMemberType=false

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from kdjax.losses.numerics import full_precision


def soft_target_kl(
  student_logits: jax.Array,
  teacher_logits: jax.Array,
  *,
  temperature: ArrayLike = 4.0,
) -> jax.Array:
  r"""Computes KL(teacher || student) of softened class probabilities.

  With :math:`p = \mathrm{softmax}(z^t / T)` and
  :math:`q = \mathrm{softmax}(z^s / T)`, the loss of example :math:`i` is

  .. math::
    \ell_i = T^2 \sum_k p_{ik} \, (\log p_{ik} - \log q_{ik}) .

  With the factor :math:`T^2` the gradient is :math:`T (q - p)`, whose size
  hardly depends on :math:`T` if :math:`T` is large, so that a weight remains
  valid for other temperatures. Exchange the arguments for the direction
  KL(student || teacher) of the KD²M code.

  Args:
    student_logits: Unnormalized log-probabilities, float `[..., classes]`.
    teacher_logits: Those of the teacher, of the same shape. Receive a
      gradient, too. A class of logit :math:`-\infty`, which the teacher
      excludes, contributes nothing, as :math:`0 \log 0 = 0`; one that the
      student alone excludes makes the loss infinite.
    temperature: :math:`T > 0`; 1 gives the plain divergence. Not checked,
      because it may be traced.

  Returns:
    `[...]`, one value per example, in nats times :math:`T^2` and in at least
    float32; zero if the distributions are equal.

  Raises:
    ValueError: If the shapes differ.

  References:
    Hinton, Vinyals and Dean, `Distilling the Knowledge in a Neural Network
    <https://arxiv.org/abs/1503.02531>`_, 2015, section 2. The mean over the
    batch is RepDistiller's `DistillKL`.

  Examples:
    >>> import jax.numpy as jnp
    >>> from kdjax import losses
    >>> student = jnp.zeros((1, 2))
    >>> teacher = jnp.log(jnp.array([[0.75, 0.25]]))
    >>> print(losses.soft_target_kl(student, teacher, temperature=1.0).round(4))
    [0.1308]
  """
  if jnp.shape(student_logits) != jnp.shape(teacher_logits):
    raise ValueError(
      'soft_target_kl needs logits of one shape, got student '
      f'{jnp.shape(student_logits)} and teacher {jnp.shape(teacher_logits)}.'
    )
  log_q = jax.nn.log_softmax(full_precision(student_logits) / temperature)
  log_p = jax.nn.log_softmax(full_precision(teacher_logits) / temperature)
  # 0 log 0 = 0; the inner selection keeps NaN out of the gradient.
  possible = log_p > -jnp.inf
  excess = jnp.where(possible, jnp.where(possible, log_p, 0) - log_q, 0)
  divergence = jnp.sum(jnp.exp(log_p) * excess, axis=-1)
  return jnp.square(temperature) * divergence


def cross_entropy(
  logits: jax.Array,
  labels: jax.Array,
  *,
  label_smoothing: float = 0.0,
) -> jax.Array:
  r"""Computes the negative log-probability of the label.

  With :math:`p = \mathrm{softmax}(z)`, :math:`K` classes and smoothing
  :math:`s`, the loss of example :math:`i` is

  .. math::
    \ell_i = -(1 - s) \log p_{i y_i} - \frac{s}{K} \sum_k \log p_{ik} .

  Args:
    logits: :math:`z`, unnormalized log-probabilities, float `[..., classes]`.
      A class of logit :math:`-\infty` is excluded: as a label, or with
      smoothing, it makes the loss infinite.
    labels: :math:`y`, class indices, integer `[...]`. An index out of range
      gives NaN, so that invalid labels are noticed.
    label_smoothing: :math:`s` in [0, 1].

  Returns:
    `[...]`, one value per example, in nats and in at least float32.

  Raises:
    ValueError: If the shapes are inconsistent.

  Examples:
    >>> import jax.numpy as jnp
    >>> from kdjax import losses
    >>> logits = jnp.log(jnp.array([[0.7, 0.2, 0.1], [0.25, 0.25, 0.5]]))
    >>> print(losses.cross_entropy(logits, jnp.array([0, 2])).round(4))
    [0.3567 0.6931]
  """
  if jnp.shape(logits)[:-1] != jnp.shape(labels):
    raise ValueError(
      'cross_entropy needs logits [..., classes] and labels [...], got '
      f'{jnp.shape(logits)} and {jnp.shape(labels)}.'
    )
  log_p = jax.nn.log_softmax(full_precision(logits))
  index = jnp.expand_dims(jnp.asarray(labels), -1)
  valid = (index >= 0) & (index < log_p.shape[-1])
  of_label = jnp.take_along_axis(log_p, jnp.where(valid, index, 0), axis=-1)
  of_label = jnp.where(valid, of_label, jnp.nan)[..., 0]
  # Without smoothing, a class of logit -inf contributes nothing.
  smoothed = jnp.where(
    label_smoothing > 0, label_smoothing * jnp.mean(log_p, axis=-1), 0
  )
  return -(1.0 - label_smoothing) * of_label - smoothed
