"""The mean of the weights at the ends of a run's last epochs."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp

from kdjax.train.state import TrainState
from kdjax.typing import PyTree

Form = Literal['mean', 'as_published']


def snapshot_factors(count: int, form: Form) -> tuple[int, ...]:
  """How often each of `count` snapshots enters their sum, the first first.

  The published code of LSHFM keeps the first snapshot as a reference to the
  live weights. By the time the second is added it is the second as well, so
  that their sum has the second twice and the first not at all: `as_published`.
  """
  if form == 'mean' or count == 1:
    return (1,) * count
  return (0, 2) + (1,) * (count - 2)


def empty_sum(params: PyTree, batch_stats: PyTree) -> PyTree:
  """Zeros for what `add_snapshot` adds up."""
  return jax.tree.map(
    jnp.zeros_like, {'params': params, 'batch_stats': batch_stats}
  )


def add_snapshot(state: TrainState, factor: jax.typing.ArrayLike) -> TrainState:
  """The state with its weights and running statistics in the sum."""
  now = {'params': state.params, 'batch_stats': state.batch_stats}
  total = jax.tree.map(
    lambda total, value: total + factor * value, state.snapshots, now
  )
  return dataclasses.replace(state, snapshots=total)


def averaged(state: TrainState, count: int) -> TrainState:
  """The state with the mean of its `count` snapshots in place of the last."""
  mean = jax.tree.map(lambda total: total / count, state.snapshots)
  return dataclasses.replace(
    state, params=mean['params'], batch_stats=mean['batch_stats'], ema={}
  )
