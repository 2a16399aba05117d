"""Settings as arguments of a program, so that runs with others share it.

A run's numbers lie in its state (`TrainState.numbers`): settings of its method
by their names, and what its learning rate is multiplied by. What is no number
there is part of the program.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import optax

from kdjax.methods import Method

if TYPE_CHECKING:
  from kdjax.train.parts import Parts

LEARNING_RATE = 'learning_rate'


def skeleton(method: Method, names: Collection[str]) -> Method:
  """What is left of a method without the numbers of these names.

  Raises:
    ValueError: If a setting is none, or no number.
  """
  of_method = [name for name in names if name != LEARNING_RATE]
  return method.with_numbers(dict.fromkeys(of_method, 0.0))


def as_state(
  numbers: Mapping[str, float], learning_rate: float
) -> dict[str, jax.Array]:
  """Numbers of a run as its state holds them, float32.

  Args:
    numbers: By name.
    learning_rate: The one that the program is made for.
  """
  values = dict(numbers)
  if LEARNING_RATE in values:
    values[LEARNING_RATE] /= learning_rate
  return {name: jnp.float32(value) for name, value in values.items()}


def with_numbers(parts: Parts, numbers: Mapping[str, Any]) -> Parts:
  """What a step is made of, with a run's numbers; inside jit."""
  if not numbers:
    return parts
  values = dict(numbers)
  factor = values.pop(LEARNING_RATE, None)
  optimizer = parts.optimizer
  if factor is not None:
    optimizer = _times(optimizer, factor)
  method = parts.method.with_numbers(values)
  return dataclasses.replace(parts, method=method, optimizer=optimizer)


def _times(
  optimizer: optax.GradientTransformation, factor: jax.Array
) -> optax.GradientTransformation:
  """The optimiser with its changes multiplied, and the same state."""

  def update(updates, state, params=None):
    changes, state = optimizer.update(updates, state, params)
    return jax.tree.map(lambda change: factor * change, changes), state

  return optax.GradientTransformation(optimizer.init, update)
