"""Losses of several labels per example."""

import jax
import jax.numpy as jnp

from kdjax.losses.numerics import full_precision


def sigmoid_cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
  r"""Binary cross-entropy of each class by itself, averaged over classes.

  With :math:`y_{ik}` = 1 where class :math:`k` is in example :math:`i`, 0 where
  it is not, and :math:`J_i` the classes that are judged,

  .. math::
    \ell_i = \frac{1}{|J_i|} \sum_{k \in J_i}
      \log(1 + e^{z_{ik}}) - y_{ik} z_{ik} .

  Args:
    logits: :math:`z`, float `[..., classes]`.
    labels: :math:`y`, of the same shape; below 0 where a class is not judged.

  Returns:
    `[...]`, one value per example, in nats; 0 where no class is judged. In
    float32 at least.

  Raises:
    ValueError: If the shapes differ.

  References:
    The mean of this over the batch is PyTorch's `BCEWithLogitsLoss`, an average
    over batch and classes, not a sum over classes.
  """
  if jnp.shape(logits) != jnp.shape(labels):
    raise ValueError(
      'sigmoid_cross_entropy needs logits and labels of one shape, got '
      f'{jnp.shape(logits)} and {jnp.shape(labels)}.'
    )
  z = full_precision(logits)
  judged = labels >= 0
  # Not softplus(z) - y z: where z is large that is a difference of equals.
  each = jax.nn.softplus(jnp.where(labels > 0, -z, z))
  count = jnp.maximum(judged.sum(-1), 1)
  return jnp.sum(jnp.where(judged, each, 0), -1) / count
