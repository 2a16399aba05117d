"""Losses of LSHFM by name, per image, and their mean over chosen images."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from kdjax import losses
from kdjax.typing import Batch, PyTree

Loss = Callable[[jax.Array, jax.Array], jax.Array]
HashLoss = Callable[[jax.Array, jax.Array, jax.Array, jax.Array], jax.Array]

# Loss of the features themselves, and whether hashes are compared too.
FEATURE_LOSSES: dict[str, tuple[Loss | None, bool]] = {
  'l1': (losses.mean_absolute_error, False),
  'l2': (losses.mean_squared_error, False),
  'lsh': (None, True),
  'lshl2': (losses.mean_squared_error, True),
}
HASH_LOSSES: dict[str, HashLoss] = {
  'bce': losses.lsh,
  'l1': losses.lsh_absolute,
  'l2': losses.lsh_squared,
}


def uses_hashes(loss: str) -> bool:
  """Returns whether a loss, with or without `_s`, compares hashes."""
  return FEATURE_LOSSES[loss.removesuffix('_s')][1]


def feature_loss(
  loss: str,
  hash_loss: str,
  planes: PyTree,
  student: jax.Array,
  teacher: jax.Array,
) -> jax.Array:
  """Computes the loss of each image.

  Args:
    loss: A name of `FEATURE_LOSSES`, with or without `_s`.
    hash_loss: A name of `HASH_LOSSES`.
    planes: `kernel` `[D, N]` and `bias` `[N]`, where hashes are compared.
    student: Embeddings `[B, D]`.
    teacher: Embeddings `[B, D]`.

  Returns:
    `[B]`.
  """
  of_features, hashed = FEATURE_LOSSES[loss.removesuffix('_s')]
  values: list[jax.Array] = []
  if hashed:
    of_hashes = HASH_LOSSES[hash_loss]
    values.append(of_hashes(student, teacher, planes['kernel'], planes['bias']))
  if of_features is not None:
    values.append(of_features(student, teacher))
  return sum(values[1:], values[0])


def is_correct(logits: jax.Array, batch: Batch) -> jax.Array:
  """Returns whether the largest logit of each image is that of its label.

  Args:
    logits: `[B, K]`.
    batch: `label` int32 `[B]`.

  Returns:
    Bool `[B]`.

  Raises:
    ValueError: If images have several labels.
  """
  label = batch['label']
  if label.ndim != 1:
    raise ValueError(
      'The losses of lshfm with _s need one class per image, got labels '
      f'{label.shape}. Give --method.loss without _s.'
    )
  return jnp.argmax(logits, axis=-1) == label


def masked_mean(values: jax.Array, mask: jax.Array) -> jax.Array:
  """Computes the mean of some values; 0, with gradient 0, if there are none.

  Args:
    values: `[B]`.
    mask: Bool `[B]`, true for the values that count.
  """
  total = jnp.sum(jnp.where(mask, values, 0))
  return total / jnp.maximum(jnp.sum(mask), 1)
