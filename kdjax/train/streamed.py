"""Steps over a set that is read while it trains."""

import collections
from collections.abc import Sized
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.data import Stream, StreamedSplit
from kdjax.train.resident import Program, is_finite, restart
from kdjax.train.speed import Speed
from kdjax.train.state import TrainState
from kdjax.train.streamed_passes import StreamedPasses, without_counts
from kdjax.typing import PyTree

_IN_FLIGHT = 2  # steps that the devices have before them
_COUNTS = ('images_read', 'images_skipped')


class StreamedProgram(Program):
  """`Program` of a streamed set: one step per dispatch, the same step.

  All batches have one size. What an epoch leaves over begins the next one, so
  that no image is lost: epochs are of `len(train) // batch_size` batches. The
  step says which batch is next. The carry has a third part, for the log: images
  read (`images_read`), and of these how many did not decode (`images_skipped`).

  Every process reads and decodes what its own devices compute with, and nothing
  else. What a method observes is the exception: one batch, whole in each.
  """

  def _compile(self) -> None:
    """Makes the functions that depend on where the images lie."""
    self._open: tuple[int, Stream] | None = None
    self.speed = Speed()
    self.passes = StreamedPasses(self.parts, self.devices, self.batch_size)
    self.step = jax.jit(self._advance_one, donate_argnums=0)

  @staticmethod
  def count_steps(train: Sized, batch_size: int) -> int:
    """Batches of an epoch; what is left over begins the next one."""
    return len(train) // batch_size

  def place(self, split: StreamedSplit) -> StreamedSplit:
    """The set itself: its images go to the devices batch by batch."""
    return split

  def batch_shapes(self) -> dict[str, jax.ShapeDtypeStruct]:
    """What a batch of the training set is made of."""
    labels = self.train_data.labels
    of = jax.ShapeDtypeStruct
    return {
      'image': of((self.batch_size, *self.image_shape), np.uint8),
      'label': of((self.batch_size, *labels.shape[1:]), labels.dtype),
      'index': of((self.batch_size,), np.int32),
    }

  def first_carry(self, state: TrainState, teacher_variables: PyTree) -> tuple:
    """What `advance` takes before the first step, and gives after any."""
    zero = np.zeros((), np.int32)
    read = self.devices.replicate(dict.fromkeys(_COUNTS, zero))
    return state, self.init_sums(state, teacher_variables), read

  def order(self, data_key: jax.Array, epoch: int) -> jax.Array:
    """The key itself: the stream knows its places."""
    del epoch
    return data_key

  def advance(
    self, carry, teacher_variables, data, order, stop, looked_up=None
  ) -> tuple:
    """Steps from where `carry` stands up to `stop`, within one epoch.

    Ends at the step whose loss or gradient is not finite, as on a set that
    lives on the devices, though later batches may have been read by then.

    Raises:
      ValueError: If an image does not decode and none may be skipped.
    """
    assert looked_up is None, 'a streamed set has no table'
    step = int(carry[0].step)
    stream = self._stream(data, order, step)
    in_flight = collections.deque()
    with self.speed.running():
      for _ in range(step, int(stop)):
        with self.speed.waiting():
          share = next(stream)
        batch = self.devices.spread(share, self.batch_size)
        compiled = self.compilations()
        carry, done = self.step(carry, teacher_variables, batch)
        if (
          compiled != self.compilations()
        ):  # which is not what training is like
          self.speed.restart()
        in_flight.append(done)
        if len(in_flight) > _IN_FLIGHT:
          jax.block_until_ready(in_flight.popleft())
      jax.block_until_ready(carry)
    return carry

  def take_speed(self) -> dict[str, Any]:
    """What bound the steps since the last time this was asked."""
    line = self.speed.line(self.batch_size)
    self.speed.restart()
    return line

  def close(self) -> None:
    """Ends the threads and processes that read the training set."""
    if self._open is not None:
      self._open[1].close()
      self._open = None

  def _advance_one(self, carry, teacher_variables, batch):
    """One step, and what is there when it is done, without holding its carry.

    A step counts only if all before it were finite.
    """
    self._traces[0] += 1  # runs while tracing, once per executable
    state, sums, read = carry
    batch, skipped = without_counts(batch)
    goes_on = is_finite(sums)
    fresh = state.step % self.steps_per_epoch == 0
    moved, sums = self.one_step(
      (state, restart(sums, fresh & goes_on)), teacher_variables, batch
    )
    step = jnp.where(goes_on, moved.step, state.step)
    added = (self.batch_size + skipped, skipped)
    read = {name: read[name] + more for name, more in zip(_COUNTS, added)}
    carry = moved.replace(step=step), sums, self.devices.gather(read)
    return carry, is_finite(sums)

  def _stream(self, data: StreamedSplit, key: jax.Array, first: int) -> Stream:
    """The batches from one on; the open stream, if it stands there."""
    seed, size = int(jax.random.bits(self.devices.local(key))), self.batch_size
    if self._open is None or (self._open[0], self._open[1].batch) != (
      seed,
      first,
    ):
      self.close()
      self._open = (
        seed,
        data.shuffled(seed, size, first=first, rows=self.devices.rows(size)),
      )
    return self._open[1]
