"""Epochs over a training split that is read while it trains."""

import collections
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.data import Stream, StreamedSplit
from kdjax.runtime.mesh import Devices
from kdjax.train.epochs import Program, is_finite, reset_sums
from kdjax.train.input_statistics import InputStatistics
from kdjax.train.state import Carry, Frozen, TrainState
from kdjax.train.streamed_evaluate import StreamedEvaluator, without_counts
from kdjax.typing import Batch

_IN_FLIGHT = 2  # steps that are dispatched ahead of the devices
_COUNTS = ('images_read', 'images_skipped')


class StreamedEpochs:
  """One step per dispatch over batches that are read ahead.

  All batches have one size; the remaining images of an epoch begin the next
  one. The step determines the next batch. The carry counts the images that were
  read, and those that were not decodable, for the log.

  Every process reads and decodes the rows of its own devices. Observations are
  the exception: their one batch is replicated in each process.

  Attributes:
    program: Description of the compiled functions.
    evaluator: Evaluation of streamed splits.
    steps_per_epoch: Number of steps.
    train_data: The training split.
    step: `(carry, frozen, batch) -> (carry, finite)`: the compiled step.
  """

  def __init__(self, program: Program):
    assert isinstance(program.train, StreamedSplit)
    self.program = program
    self.evaluator = StreamedEvaluator(
      program.parts, program.devices, program.batch_size
    )
    self.steps_per_epoch = program.parts.steps_per_epoch
    self.train_data = program.train
    self.step = program.devices.jit(self._step, donate_argnums=0)
    self._statistics = InputStatistics()
    self._open: tuple[int, Stream] | None = None
    self._traces = 0

  def on(self, devices: Devices) -> 'StreamedEpochs':
    """Returns the same epochs on other devices."""
    return StreamedEpochs(dataclasses.replace(self.program, devices=devices))

  def place(self, split: StreamedSplit) -> StreamedSplit:
    """Returns the split itself: its images are placed batch by batch."""
    return split

  def first_carry(self, state: TrainState, frozen: Frozen) -> Carry:
    """Returns the carry before the first step."""
    sums = self.program.empty_sums(state, frozen)
    read: Any = {name: np.zeros((), np.int32) for name in _COUNTS}
    carry = Carry(state=state, sums=sums, read=read)
    return self.program.devices.replicate(carry)

  def begin_epoch(self, data_key: jax.Array, epoch: int) -> jax.Array:
    """Returns the key itself: the stream has the order of all epochs."""
    del epoch
    return data_key

  def advance(
    self, carry: Carry, frozen: Frozen, order: jax.Array, stop: int
  ) -> Carry:
    """Trains up to step `stop`, within one epoch.

    Stops after a step whose loss or gradient is not finite, as resident epochs
    do, though later batches may have been read by then.

    Raises:
      ValueError: If an image does not decode and none may be skipped.
    """
    step = int(carry.state.step)
    stream = self._stream(order, step)
    in_flight = collections.deque()
    with self._statistics.running():
      for _ in range(step, int(stop)):
        with self._statistics.waiting():
          rows = next(stream)
        batch = self.program.devices.shard_batch(rows, self.program.batch_size)
        compiled = self._traces
        carry, finite = self.step(carry, frozen, batch)
        if compiled != self._traces:  # compiling is not training
          self._statistics.reset()
        in_flight.append(finite)
        if len(in_flight) > _IN_FLIGHT:
          jax.block_until_ready(in_flight.popleft())
      jax.block_until_ready(carry)
    return carry

  def input_statistics(self) -> dict[str, Any]:
    """Returns statistics of the input since the last call."""
    summary = self._statistics.summary(self.program.batch_size)
    self._statistics.reset()
    return summary

  def compilations(self) -> int:
    """Returns the number of compiled training steps so far."""
    return self._traces

  def close(self) -> None:
    """Ends the threads and processes that read the training split."""
    if self._open is not None:
      self._open[1].close()
      self._open = None

  def _step(
    self, carry: Carry, frozen: Frozen, batch: Batch
  ) -> tuple[Carry, jax.Array]:
    """Runs one step; inside jit.

    Returns:
      The carry, and whether all losses so far are finite: something to wait
      for that does not hold the donated carry. The step number only counts
      steps before which all were finite.
    """
    self._traces += 1  # runs while tracing, once per executable
    batch, skipped = without_counts(batch)
    finite = is_finite(carry.sums)
    state, sums, read = carry.state, carry.sums, carry.read
    starts = (state.step % self.steps_per_epoch == 0) & finite
    carry = dataclasses.replace(carry, sums=reset_sums(sums, starts))
    new = self.program.advance_one(carry, frozen, batch)
    step = jnp.where(finite, new.state.step, state.step)
    added = (self.program.batch_size + skipped, skipped)
    read = {name: read[name] + more for name, more in zip(_COUNTS, added)}
    new = dataclasses.replace(
      new,
      state=dataclasses.replace(new.state, step=step),
      read=self.program.devices.gather(read),
    )
    return new, is_finite(new.sums)

  def _stream(self, key: jax.Array, first: int) -> Stream:
    """Returns the batches from `first` on; the open stream if it is there."""
    seed = int(jax.random.bits(self.program.devices.local(key)))
    if self._open is None or (self._open[0], self._open[1].batch) != (
      seed,
      first,
    ):
      self.close()
      size = self.program.batch_size
      rows = self.program.devices.rows(size)
      stream = self.train_data.shuffled(seed, size, first=first, rows=rows)
      self._open = seed, stream
    return self._open[1]
