"""Losses of several labels per example."""

import jax
import jax.numpy as jnp

from kdjax.losses.numerics import full_precision


def sigmoid_cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
  r"""Computes the mean binary cross-entropy over the labeled classes.

  With :math:`y_{ik}` = 1 if example :math:`i` contains class :math:`k`, else
  0, and the set :math:`J_i` of labeled classes,

  .. math::
    \ell_i = \frac{1}{|J_i|} \sum_{k \in J_i}
      \log(1 + e^{z_{ik}}) - y_{ik} z_{ik} .

  Args:
    logits: :math:`z`, float `[..., classes]`.
    labels: :math:`y`, of the same shape; negative if a class is not labeled.

  Returns:
    `[...]`, one value per example, in nats and in at least float32; 0 if no
    class is labeled.

  Raises:
    ValueError: If the shapes differ.

  References:
    The mean over the batch is PyTorch's `BCEWithLogitsLoss`: an average over
    the batch and the classes, not a sum over the classes.

  Examples:
    >>> import jax.numpy as jnp
    >>> from kdjax import losses
    >>> logits = jnp.array([[2.0, -1.0, 3.0]])
    >>> labels = jnp.array([[1, 0, -1]])  # the last class is not labeled
    >>> print(losses.sigmoid_cross_entropy(logits, labels).round(4))
    [0.2201]
  """
  if jnp.shape(logits) != jnp.shape(labels):
    raise ValueError(
      'sigmoid_cross_entropy needs logits and labels of one shape, got '
      f'{jnp.shape(logits)} and {jnp.shape(labels)}.'
    )
  z = full_precision(logits)
  labeled = labels >= 0
  # softplus(z) - y z would be a difference of nearly equal numbers for large z.
  by_class = jax.nn.softplus(jnp.where(labels > 0, -z, z))
  count = jnp.maximum(labeled.sum(-1), 1)
  return jnp.sum(jnp.where(labeled, by_class, 0), -1) / count
