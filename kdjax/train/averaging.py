"""Averages of weights, wrapped around the training step."""

import dataclasses
from typing import Literal, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kdjax.train.parts import copy
from kdjax.train.state import Frozen, TrainState
from kdjax.train.step import Metrics, Step
from kdjax.typing import Batch, PyTree

Form = Literal['mean', 'as_published']


class StepWrapper(Protocol):
  """A feature that is wrapped around the training step.

  Its state is in `TrainState.averages`, and so in every checkpoint.
  """

  def init(self, state: TrainState) -> TrainState:
    """Returns the initial training state with the state of the wrapper."""
    ...

  def wrap(self, step: Step) -> Step:
    """Returns the step with the feature."""
    ...

  def variants(self, state: TrainState) -> dict[str, TrainState]:
    """Returns states that are evaluated side by side, by name.

    The best of them is the student; empty if the wrapper adds none.
    """
    ...

  def final_states(self, state: TrainState) -> dict[str, TrainState]:
    """Returns states to evaluate and save at the end of a run, by folder."""
    ...


@dataclasses.dataclass(frozen=True)
class Ema:
  r"""Exponential moving average of the parameters and running statistics.

  After :math:`t` earlier steps the average keeps
  :math:`\min(d, (1 + t) / (10 + t))` of itself, so that a short run is not
  dominated by the random weights it started from.

  Attributes:
    decay: :math:`d`, the largest factor of the average per step, in [0, 1).
  """

  decay: float

  def init(self, state: TrainState) -> TrainState:
    """Returns the state with the average of no step: its weights."""
    return _with_average(state, 'ema', copy(_weights(state)))

  def wrap(self, step: Step) -> Step:
    """Returns the step that also updates the average."""

    def averaged_step(
      state: TrainState, frozen: Frozen, batch: Batch
    ) -> tuple[TrainState, Metrics]:
      new_state, metrics = step(state, frozen, batch)
      done = state.step.astype(jnp.float32)
      decay = jnp.minimum(self.decay, (1 + done) / (10 + done))
      average = optax.incremental_update(
        _weights(new_state), state.averages['ema'], 1 - decay
      )
      return _with_average(new_state, 'ema', average), metrics

    return averaged_step

  def variants(self, state: TrainState) -> dict[str, TrainState]:
    """Returns the average and the latest weights, by name."""
    average = state.averages['ema']
    without = {k: v for k, v in state.averages.items() if k != 'ema'}
    raw = dataclasses.replace(state, averages=without)
    return {'ema': dataclasses.replace(raw, **average), 'raw': raw}

  def final_states(self, state: TrainState) -> dict[str, TrainState]:
    """Returns none: the better variant is the student."""
    del state
    return {}


@dataclasses.dataclass(frozen=True)
class LastEpochs:
  """Average of the weights at the ends of the last epochs.

  Attributes:
    count: Number of epochs.
    form: Weights of the epochs; see `epoch_weights`.
    first: Epochs completed before the first of them.
    steps_per_epoch: Number of steps.
  """

  count: int
  form: Form
  first: int
  steps_per_epoch: int

  def init(self, state: TrainState) -> TrainState:
    """Returns the state with an empty sum."""
    return _with_average(
      state, 'last_epochs', jax.tree.map(jnp.zeros_like, _weights(state))
    )

  def wrap(self, step: Step) -> Step:
    """Returns the step that adds its weights at the end of an epoch."""
    weights = np.asarray(epoch_weights(self.count, self.form), np.float32)

    def averaged_step(
      state: TrainState, frozen: Frozen, batch: Batch
    ) -> tuple[TrainState, Metrics]:
      new_state, metrics = step(state, frozen, batch)
      epoch, rest = jnp.divmod(new_state.step, self.steps_per_epoch)
      index = epoch - 1 - self.first
      weight = jnp.asarray(weights)[index]
      total = jax.lax.cond(
        (rest == 0) & (index >= 0),
        lambda total, now: jax.tree.map(
          lambda sum_, value: sum_ + weight * value, total, now
        ),
        lambda total, now: total,
        new_state.averages['last_epochs'],
        _weights(new_state),
      )
      return _with_average(new_state, 'last_epochs', total), metrics

    return averaged_step

  def variants(self, state: TrainState) -> dict[str, TrainState]:
    """Returns none: the mean exists at the end only."""
    del state
    return {}

  def final_states(self, state: TrainState) -> dict[str, TrainState]:
    """Returns the state whose weights are the mean of the epochs'."""
    mean = jax.tree.map(
      lambda total: total / self.count, state.averages['last_epochs']
    )
    return {'student_average': dataclasses.replace(state, **mean)}


def epoch_weights(count: int, form: Form) -> tuple[int, ...]:
  """Returns the weight of each of the last epochs, the earliest first.

  The released code of LSHFM keeps the first epoch's weights as a reference to
  the live ones. When the second epoch is added they have become its own, so
  that the sum counts the second twice and the first not at all: `as_published`.

  Args:
    count: Number of epochs.
    form: `mean` or `as_published`.
  """
  if form == 'mean' or count == 1:
    return (1,) * count
  return (0, 2) + (1,) * (count - 2)


def _weights(state: TrainState) -> PyTree:
  return {'params': state.params, 'batch_stats': state.batch_stats}


def _with_average(state: TrainState, name: str, value: PyTree) -> TrainState:
  return dataclasses.replace(state, averages={**state.averages, name: value})
