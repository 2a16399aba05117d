"""Epochs of training, on resident or streamed data."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Protocol, Self

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.data import Split, StreamedSplit
from kdjax.methods.base import TrainSpec
from kdjax.runtime.mesh import Devices
from kdjax.train.averaging import StepWrapper
from kdjax.train.evaluate import Evaluator
from kdjax.train.parts import Parts, init_state
from kdjax.train.state import Carry, Frozen, TrainState
from kdjax.train.step import Step, make_step
from kdjax.typing import Batch, PyTree


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Program:
  """Description of the compiled functions of runs, for any seed.

  Attributes:
    parts: Parts of the step.
    devices: Devices that share each batch.
    train: The training split.
    batch_size: Examples per step, over all devices.
    num_classes: Number of classes of the data.
    wrappers: Wrappers of each step.
    base_step: Parts to the step that `wrappers` are wrapped around.
  """

  parts: Parts
  devices: Devices
  train: Split | StreamedSplit
  batch_size: int
  num_classes: int
  wrappers: tuple[StepWrapper, ...] = ()
  base_step: Callable[[Parts], Step] = make_step

  def __post_init__(self):
    check_batch_size(self.batch_size, self.train)

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """Height, width and channels of an image."""
    return self.train.image_shape

  @property
  def train_spec(self) -> TrainSpec:
    """The training data as methods see them."""
    return TrainSpec(len(self.train), self.train.labels, self.num_classes)

  @functools.cached_property
  def step(self) -> Step:
    """The training step with everything wrapped around it."""
    step = self.base_step(self.parts)
    for wrapper in self.wrappers:
      step = wrapper.wrap(step)
    return step

  def init_state(self, key: jax.Array, teacher_variables: PyTree) -> TrainState:
    """Returns the state before the first step, without averages."""
    return init_state(
      self.parts,
      key,
      self.image_shape,
      self.batch_size,
      teacher_variables,
      self.train_spec,
    )

  def with_averages(self, state: TrainState) -> TrainState:
    """Returns the initial training state with the states of the wrappers."""
    for wrapper in self.wrappers:
      state = wrapper.init(state)
    return state

  def advance_one(self, carry: Carry, frozen: Frozen, batch: Batch) -> Carry:
    """Returns the carry after one batch; inside jit."""
    batch = self.devices.split(batch)
    state, metrics = self.step(carry.state, frozen, batch)
    count = jnp.float32(len(batch['index']))
    values = {**metrics, 'examples': jnp.float32(1)}
    sums = {
      name: total + count * values[name] for name, total in carry.sums.items()
    }
    new = dataclasses.replace(carry, state=state, sums=sums)
    return self.devices.gather(new)

  def batch_shapes(self) -> dict[str, PyTree]:
    """Returns shapes of a batch of the training data."""
    shape = functools.partial(jax.ShapeDtypeStruct)
    size = self.batch_size
    return {
      'image': shape((size, *self.image_shape), np.uint8),
      'label': jax.tree.map(
        lambda rows: shape((size, *rows.shape[1:]), rows.dtype),
        self.train.labels,
      ),
      'index': shape((size,), np.int32),
    }

  def empty_sums(self, state: TrainState, frozen: Frozen) -> dict[str, Any]:
    """Returns zeros for every scalar that a step reports."""
    # From the plain step, which has the same metrics and needs no table.
    step = make_step(self.parts)
    _, metrics = jax.eval_shape(step, state, frozen, self.batch_shapes())
    zeros = {name: np.zeros((), np.float32) for name in metrics}
    return {**zeros, 'examples': np.zeros((), np.float32)}

  def forward_flops(self, state: TrainState) -> float | None:
    """Returns the floating-point operations of the student for one image.

    XLA counts them on the program before it is optimized; `None` where the
    platform does not count.
    """
    student = self.parts.student
    cost = (
      jax.jit(lambda v, x: student.apply(v, x, train=False)[0].outputs)
      .lower(
        jax.tree.map(
          lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype),
          state.student_variables,
        ),
        jax.ShapeDtypeStruct((1, *self.image_shape), jnp.float32),
      )
      .cost_analysis()
    )
    return cost.get('flops') if isinstance(cost, dict) else None


class Epochs(Protocol):
  """Epochs over a training split, in resumable pieces.

  `ResidentEpochs` keeps the split on the devices, `StreamedEpochs` reads it
  while it trains.
  """

  @property
  def program(self) -> Program:
    """Description of the compiled functions."""
    ...

  @property
  def evaluator(self) -> Evaluator:
    """Evaluation on the same devices."""
    ...

  @property
  def steps_per_epoch(self) -> int:
    """Number of steps."""
    ...

  @property
  def train_data(self) -> Any:
    """The training split, from `place`."""
    ...

  def on(self, devices: Devices) -> Self:
    """Returns the same epochs on other devices."""
    ...

  def place(self, split: Any) -> Any:
    """Returns a split in the form that the evaluator needs."""
    ...

  def first_carry(self, state: TrainState, frozen: Frozen) -> Carry:
    """Returns the carry before the first step."""
    ...

  def begin_epoch(self, data_key: jax.Array, epoch: int) -> Any:
    """Returns the order of an epoch's examples, for `advance`."""
    ...

  def advance(
    self, carry: Carry, frozen: Frozen, order: Any, stop: int
  ) -> Carry:
    """Trains up to step `stop`, within one epoch; the carry is donated.

    Stops after a step whose loss or gradient is not finite.
    """
    ...

  def input_statistics(self) -> dict[str, Any]:
    """Returns statistics of the input since the last call; empty if none."""
    ...

  def compilations(self) -> int:
    """Returns the number of compiled training steps so far."""
    ...

  def close(self) -> None:
    """Ends the threads and processes that read data."""
    ...


def check_batch_size(batch_size: int, split: Split | StreamedSplit) -> None:
  """Raises a `ValueError` if a batch has more images than there are."""
  if batch_size > len(split):
    raise ValueError(
      f'The batch of {batch_size} is larger than the training set of '
      f'{len(split)} images; give --batch_size={len(split)} or less.'
    )


def count_steps(split: Split | StreamedSplit, batch_size: int) -> int:
  """Returns the steps of an epoch.

  A split in memory ends its epochs with a smaller batch where needed; the
  remaining images of a streamed one begin its next epoch.
  """
  if isinstance(split, StreamedSplit):
    return len(split) // batch_size
  return -(-len(split) // batch_size)


def is_finite(sums: dict[str, jax.Array]) -> jax.Array:
  """Returns whether all losses and gradients so far are finite, bool `[]`."""
  return jnp.isfinite(sums['loss']) & jnp.isfinite(sums['grad_norm'])


def reset_sums(
  sums: dict[str, jax.Array], reset: jax.Array
) -> dict[str, jax.Array]:
  """Returns the sums, or zeros at the start of an epoch."""
  return jax.tree.map(lambda total: jnp.where(reset, 0, total), sums)


def epoch_means(sums: dict[str, jax.Array]) -> dict[str, Any]:
  """Returns the means over an epoch's examples, weighted terms by name."""
  totals = {name: float(value) for name, value in sums.items()}
  count = totals.pop('examples')
  terms, means = {}, {}
  for name, total in totals.items():
    group, _, rest = name.partition('/')
    if group == 'terms':
      terms[rest] = total / count
    elif group == 'outputs':
      means[f'train_{rest}'] = total / count
    else:
      means[name] = total / count
  return {**means, 'terms': terms}
