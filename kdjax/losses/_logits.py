"""Losses over logits; each returns one value per example."""

import jax
import jax.numpy as jnp

from kdjax.losses.numerics import full_precision


def soft_target_kl(
  student_logits: jax.Array,
  teacher_logits: jax.Array,
  *,
  temperature: jax.typing.ArrayLike = 4.0,
) -> jax.Array:
  r"""Divergence of the student's softened classes from the teacher's.

  With :math:`p = \mathrm{softmax}(z^t / T)` and
  :math:`q = \mathrm{softmax}(z^s / T)`, example :math:`i` costs

  .. math::
    \ell_i = T^2 \sum_k p_{ik} \, (\log p_{ik} - \log q_{ik}) .

  The factor :math:`T^2` makes the gradient :math:`T (q - p)`, of nearly one
  size for all large :math:`T`: a weight survives a change of temperature.
  With the arguments exchanged it is the direction KL(student || teacher) that
  the code of KD²M has.

  Args:
    student_logits: Unnormalised log-probabilities, float `[..., classes]`.
    teacher_logits: The teacher's, of the same shape. No gradient is stopped
      here: the caller decides what is trained.
    temperature: :math:`T > 0`; 1 is the plain divergence. May be traced, so it
      is not checked here.

  Returns:
    `[...]`, one value per example, in nats times :math:`T^2`; zero where the
    two distributions agree. In float32 at least.

  Raises:
    ValueError: If the shapes differ.

  References:
    Hinton, Vinyals and Dean, `Distilling the Knowledge in a Neural Network
    <https://arxiv.org/abs/1503.02531>`_, 2015, section 2.

    RepDistiller's `DistillKL` is the mean of this over the batch.
  """
  if jnp.shape(student_logits) != jnp.shape(teacher_logits):
    raise ValueError(
      'soft_target_kl needs logits of one shape, got student '
      f'{jnp.shape(student_logits)} and teacher {jnp.shape(teacher_logits)}.'
    )
  log_q = jax.nn.log_softmax(full_precision(student_logits) / temperature)
  log_p = jax.nn.log_softmax(full_precision(teacher_logits) / temperature)
  divergence = jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1)
  return jnp.square(temperature) * divergence


def cross_entropy(
  logits: jax.Array,
  labels: jax.Array,
  *,
  label_smoothing: float = 0.0,
) -> jax.Array:
  r"""Negative log-probability of the label.

  With :math:`p = \mathrm{softmax}(z)`, :math:`K` classes and smoothing
  :math:`s`, example :math:`i` costs

  .. math::
    \ell_i = -(1 - s) \log p_{i y_i} - \frac{s}{K} \sum_k \log p_{ik} .

  Args:
    logits: Unnormalised log-probabilities, float `[..., classes]`.
    labels: The classes, integer `[...]`. One outside the range costs NaN, so
      that a wrong label is seen rather than learned.
    label_smoothing: :math:`s` in [0, 1].

  Returns:
    `[...]`, one value per example, in nats. In float32 at least.

  Raises:
    ValueError: If the shapes do not belong together.
  """
  if jnp.shape(logits)[:-1] != jnp.shape(labels):
    raise ValueError(
      'cross_entropy needs logits [..., classes] and labels [...], got '
      f'{jnp.shape(logits)} and {jnp.shape(labels)}.'
    )
  log_p = jax.nn.log_softmax(full_precision(logits))
  index = jnp.expand_dims(jnp.asarray(labels), -1)
  known = (index >= 0) & (index < log_p.shape[-1])
  picked = jnp.take_along_axis(log_p, jnp.where(known, index, 0), axis=-1)
  picked = jnp.where(known, picked, jnp.nan)[..., 0]
  smooth = jnp.mean(log_p, axis=-1)
  return -(1.0 - label_smoothing) * picked - label_smoothing * smooth
