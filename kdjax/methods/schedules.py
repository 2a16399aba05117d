"""Weights that change with the epoch."""

import jax
import jax.numpy as jnp

# A number, or steps of it: pairs of an epoch, from 0, and the value from then
# on, in order.
Weight = float | tuple[tuple[int, float], ...]


def value_at(weight: Weight, epoch: jax.typing.ArrayLike) -> jax.Array:
  """What a weight is in an epoch, counted from 0; float32 at least.

  Of steps it is the value of the last one whose epoch has come, and zero before
  the first.
  """
  if not isinstance(weight, tuple):
    return jnp.asarray(weight, jnp.result_type(float, jnp.float32))
  value = jnp.zeros((), jnp.result_type(float, jnp.float32))
  for start, then in weight:
    value = jnp.where(jnp.asarray(epoch) >= start, then, value)
  return value


def warm_up(epoch: jax.typing.ArrayLike, epochs: int) -> jax.Array:
  """`min(1, (epoch + 1) / epochs)`; 1 without a warm-up (0 epochs)."""
  return jnp.minimum(1.0, (jnp.asarray(epoch) + 1.0) / max(epochs, 1))


def check_weight(owner: str, name: str, weight: Weight) -> None:
  """Raises a `ValueError` that names what cannot be a weight."""
  steps = weight if isinstance(weight, tuple) else ((0, weight),)
  epochs = [start for start, _ in steps]
  if not all(value >= 0 for _, value in steps):
    raise ValueError(f'{name} of {owner} must be zero or more, got {weight}.')
  if not steps or epochs != sorted(set(epochs)):
    raise ValueError(
      f'The epochs of {name} of {owner} must be at least one and rise, got '
      f'{weight}.'
    )
