"""Steps over a set that is read while it trains."""

import collections
import contextlib
from collections.abc import Iterator, Sized
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.data import Stream, StreamedSplit
from kdjax.train.program import (
  Evaluation,
  Program,
  is_finite,
  joined,
  restart,
)
from kdjax.train.speed import Speed
from kdjax.train.state import TrainState

PyTree = Any

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
    self.step = jax.jit(self._advance_one, donate_argnums=0)
    self._judge = jax.jit(self._judge_all)
    self._look = jax.jit(self.look)

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

  def advance(
    self, carry, teacher_variables, data, data_key, stop, looked_up=None
  ) -> tuple:
    """Steps from where `carry` stands up to `stop`, within one epoch.

    Ends at the step whose loss or gradient is not finite, as on a set that
    lives on the devices, though later batches may have been read by then.

    Raises:
      ValueError: If an image does not decode and none may be skipped.
    """
    assert looked_up is None, 'a streamed set has no table'
    step = int(carry[0].step)
    stream = self._stream(data, data_key, step)
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

  def evaluate(
    self,
    state: TrainState,
    teacher_variables: PyTree,
    data: StreamedSplit,
    *,
    first: int | None = None,
  ) -> Evaluation:
    """Outputs, embeddings and labels of a set's images, or of the first.

    Images that do not decode are missing in them, or stop the run.
    """
    variables = (
      state.student_variables,
      state.method_variables,
      teacher_variables,
    )
    parts = []
    stream = data.in_order(self.batch_size, count=first, rows=self._rows)
    with contextlib.closing(stream):
      for share in stream:
        batch = self.devices.spread(share, self.batch_size)
        # Fetched at once: a set need not fit beside the networks.
        found, decoded = jax.device_get(self._judge(variables, batch))
        parts.append(_rows_of(found, decoded))
    count = sum(len(labels) for *_, labels in parts)
    if not count:
      raise ValueError(f'none of {len(data)} images can be decoded.')
    return Evaluation(*joined(parts, count))

  def observe_images(self, variables, data, count: int):
    """What the method sees in the first images, one batch of them at most."""
    size = min(count, self.batch_size)
    with contextlib.closing(data.in_order(size, count=size)) as stream:
      batch = next(stream)
    batch = _rows_of(batch, batch['decoded'])
    return self._look(variables, self.devices.replicate(batch))

  @property
  def _rows(self) -> np.ndarray:
    """Of each batch, what this process decodes."""
    return self.devices.rows(self.batch_size)

  def _advance_one(self, carry, teacher_variables, batch):
    """One step, and what is there when it is done, without holding its carry.

    A step counts only if all before it were finite.
    """
    self._traces[0] += 1  # runs while tracing, once per executable
    state, sums, read = carry
    batch, skipped = _without_counts(batch)
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

  def _judge_all(self, variables, batch):
    """What an evaluation keeps of a batch, and which of its rows count."""
    kept = self.devices.gather((batch['label'], batch['decoded']))
    outputs, embedding = self.judge(variables, _without_counts(batch)[0])
    return (outputs, embedding, kept[0]), kept[1]

  def _stream(self, data: StreamedSplit, key: jax.Array, first: int) -> Stream:
    """The batches from one on; the open stream, if it stands there."""
    seed = int(jax.random.bits(self.devices.local(key)))
    if self._open is None or (self._open[0], self._open[1].batch) != (
      seed,
      first,
    ):
      self.close()
      self._open = (
        seed,
        data.shuffled(seed, self.batch_size, first=first, rows=self._rows),
      )
    return self._open[1]

  def that_count(self, features, batch):
    """Of a walk's batch the rows that are images of the set."""
    kept = _without_counts(batch)[0]
    return _rows_of((features, kept), np.asarray(batch['decoded']))

  def _walk(self) -> Iterator[PyTree]:
    """The training set once, in order, on the devices."""
    stream = self.train_data.in_order(self.batch_size, rows=self._rows)
    with contextlib.closing(stream):
      for share in stream:
        yield self.devices.spread(share, self.batch_size)


def _rows_of(tree: PyTree, chosen: np.ndarray) -> PyTree:
  """The chosen rows of each array."""
  return tree if chosen.all() else jax.tree.map(lambda a: a[chosen], tree)


def _without_counts(batch: PyTree) -> tuple[PyTree, jax.Array]:
  """A batch as every step takes it, and how many images it left out."""
  counts = ('decoded', 'skipped')
  kept = {name: rows for name, rows in batch.items() if name not in counts}
  return kept, batch['skipped'].sum(dtype=jnp.int32)
