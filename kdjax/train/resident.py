"""Epochs over a training split that resides on the devices."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.data import batch_order
from kdjax.runtime.mesh import Devices
from kdjax.train.epochs import Program, is_finite, reset_sums
from kdjax.train.evaluate import ResidentEvaluator
from kdjax.train.state import Carry, Frozen, TrainState
from kdjax.typing import Batch


class ResidentEpochs:
  """Many steps per dispatch over uint8 images on the devices.

  One executable serves any number of steps per dispatch; a smaller last batch
  of an epoch is a branch of it.

  Attributes:
    program: Description of the compiled functions.
    evaluator: Evaluation on the same devices.
    steps_per_epoch: Number of steps, a smaller last batch included.
    train_data: The training split on the devices.
  """

  def __init__(self, program: Program, train_data: Batch | None = None):
    self.program = program
    devices = program.devices
    self.evaluator = ResidentEvaluator(
      program.parts, devices, program.batch_size
    )
    self.steps_per_epoch = program.parts.steps_per_epoch
    self.train_data = train_data or self.place(program.train)
    self._traces = 0
    self._elsewhere: dict[Devices, ResidentEpochs] = {}
    # The carry is donated: the loop updates it in place.
    self._advance = devices.jit(self._steps, donate_argnums=0)
    self._permute = devices.jit(self._permutation)

  def on(self, devices: Devices) -> 'ResidentEpochs':
    """Returns the same epochs on other devices, compiled once for each."""
    if devices not in self._elsewhere:
      program = dataclasses.replace(self.program, devices=devices)
      self._elsewhere[devices] = ResidentEpochs(program)
    return self._elsewhere[devices]

  def with_program(self, program: Program) -> 'ResidentEpochs':
    """Returns epochs of another program over the same data."""
    return ResidentEpochs(program, self.train_data)

  def place(self, split: Any) -> Batch:
    """Returns a split on the devices, images as uint8."""
    return self.program.devices.replicate(
      {
        'image': split.images,
        'label': split.labels,
        'index': np.arange(len(split), dtype=np.int32),
      }
    )

  def first_carry(self, state: TrainState, frozen: Frozen) -> Carry:
    """Returns the carry before the first step."""
    sums = self.program.empty_sums(state, frozen)
    return self.program.devices.replicate(Carry(state=state, sums=sums))

  def begin_epoch(self, data_key: jax.Array, epoch: int) -> jax.Array:
    """Returns the order of an epoch's examples, int32 `[N]`.

    Drawn once per epoch, because sorting takes longer than a dispatch does
    otherwise.
    """
    order = self._permute(data_key, np.int32(epoch))
    return self.program.devices.awaited(order)

  def advance(
    self, carry: Carry, frozen: Frozen, order: jax.Array, stop: int
  ) -> Carry:
    """Trains up to step `stop`, within one epoch, in one dispatch."""
    new = self._advance(carry, frozen, self.train_data, order, np.int32(stop))
    return self.program.devices.awaited(new)

  def lower(self, carry: Carry, frozen: Frozen, order: jax.Array) -> Any:
    """Returns `advance` lowered for these arguments, for inspection."""
    return self._advance.lower(
      carry, frozen, self.train_data, order, np.int32(0)
    )

  def input_statistics(self) -> dict[str, Any]:
    """Returns none: resident data are never waited for."""
    return {}

  def compilations(self) -> int:
    """Returns the number of compiled training loops so far."""
    return self._traces

  def close(self) -> None:
    """Does nothing: there are no threads or processes."""

  def _permutation(self, data_key: jax.Array, epoch: jax.Array) -> jax.Array:
    count = len(self.train_data['index'])
    return self.program.devices.gather(batch_order(data_key, epoch, count))

  def _steps(
    self,
    carry: Carry,
    frozen: Frozen,
    data: Batch,
    order: jax.Array,
    stop: jax.Array,
  ) -> Carry:
    """Runs the steps up to `stop`; inside jit.

    A while loop rather than a scan: its length is then an argument, so that
    one executable serves any number of steps per dispatch, and it ends at the
    step whose loss or gradient is not finite. Nothing is differentiated
    through it.
    """
    self._traces += 1  # runs while tracing, once per executable
    size = self.program.batch_size
    first = carry.state.step // self.steps_per_epoch * self.steps_per_epoch
    whole, rest = divmod(len(data['index']), size)
    starts = carry.state.step == first
    sums = reset_sums(carry.sums, starts)
    carry = dataclasses.replace(carry, sums=sums)

    def step(carry: Carry, rows: jax.Array) -> Carry:
      batch = jax.tree.map(lambda array: array[rows], data)
      return self.program.advance_one(carry, frozen, batch)

    def goes_on(carry: Carry, until: jax.Array) -> jax.Array:
      return (carry.state.step < until) & is_finite(carry.sums)

    def whole_step(carry: Carry) -> Carry:
      start = (carry.state.step - first) * size
      return step(carry, jax.lax.dynamic_slice(order, (start,), (size,)))

    carry = jax.lax.while_loop(
      lambda carry: goes_on(carry, jnp.minimum(stop, first + whole)),
      whole_step,
      carry,
    )
    if rest:
      carry = jax.lax.cond(
        goes_on(carry, stop) & (carry.state.step == first + whole),
        lambda carry: step(carry, order[whole * size :]),
        lambda carry: carry,
        carry,
      )
    return carry
