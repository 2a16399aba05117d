"""Numbers that change with the epoch: the weights of all methods."""

# pyright: reportUnknownMemberType=false

import jax
import jax.numpy as jnp
import optax  # pyright: ignore[reportMissingTypeStubs]

# A constant, or steps: pairs of the epoch from which a value holds, counted
# from 0, and the value; zero before the first.
Weight = float | tuple[tuple[int, float], ...]


def schedule(weight: Weight) -> optax.Schedule:
  """Returns the optax schedule of a weight, a function of the epoch."""
  if not isinstance(weight, tuple):
    return optax.constant_schedule(weight)
  return optax.join_schedules(
    [optax.constant_schedule(value) for value in (0.0, *_values(weight))],
    [epoch for epoch, _ in weight],
  )


def value_at(weight: Weight, epoch: jax.typing.ArrayLike) -> jax.Array:
  """Returns the value of a weight in an epoch, in at least float32.

  Args:
    weight: A constant or steps.
    epoch: Epochs completed before this one; may be traced.
  """
  value = schedule(weight)(jnp.asarray(epoch))
  return jnp.asarray(value, jnp.result_type(float, jnp.float32))


def warm_up(epochs: int) -> optax.Schedule:
  """Returns the schedule `min(1, (epoch + 1) / epochs)`; 1 for 0 epochs."""
  return lambda epoch: jnp.minimum(
    1.0, (jnp.asarray(epoch) + 1.0) / max(epochs, 1)
  )


def scaled(weight: Weight, factor: float) -> Weight:
  """Returns the weight with all its values multiplied by a factor."""
  if isinstance(weight, tuple):
    return tuple((epoch, factor * value) for epoch, value in weight)
  return factor * weight


def zero_before(weight: Weight, epoch: int) -> Weight:
  """Returns the weight with zero before an epoch and its values from there."""
  if epoch <= 0:
    return weight
  steps = weight if isinstance(weight, tuple) else ((0, weight),)
  started = [value for start, value in steps if start <= epoch]
  first = ((epoch, started[-1]),) if started else ()
  return (*first, *(step for step in steps if step[0] > epoch))


def check_weight(owner: str, name: str, weight: Weight) -> None:
  """Checks a weight setting.

  Raises:
    ValueError: If a value is negative or NaN, or the epochs do not rise.
  """
  steps = weight if isinstance(weight, tuple) else ((0, weight),)
  epochs = [start for start, _ in steps]
  if not all(value >= 0 for _, value in steps):
    raise ValueError(f'{name} of {owner} must be zero or more, got {weight}.')
  if not steps or epochs != sorted(set(epochs)):
    raise ValueError(
      f'The epochs of {name} of {owner} must be at least one and rise, got '
      f'{weight}.'
    )


def _values(weight: tuple[tuple[int, float], ...]) -> list[float]:
  return [value for _, value in weight]
