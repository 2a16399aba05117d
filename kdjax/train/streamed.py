"""Steps over a set that is read while it trains."""

from collections.abc import Iterator, Mapping, Sized
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
from kdjax.train.state import TrainState

PyTree = Any


class StreamedProgram(Program):
  """`Program` of a streamed set: one step per dispatch, the same step.

  All batches have one size. What an epoch leaves over begins the next one, so
  that no image is lost: epochs are of `len(train) // batch_size` batches. The
  carry has a third part, the place in the stream: images taken (`images_read`)
  and, of these, those that did not decode (`images_skipped`).

  Every process reads whole batches and hands its own share to its devices.
  """

  def _compile(self) -> None:
    """Makes the functions that depend on where the images lie."""
    self._open: tuple[int, Stream] | None = None
    self._step = jax.jit(self._advance_one, donate_argnums=0)
    self._judge = jax.jit(self.judge)
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
    place = self.devices.replicate(_place(0, 0))
    return state, self.init_sums(state, teacher_variables), place

  def advance(self, carry, teacher_variables, data, data_key, stop) -> tuple:
    """Steps from where `carry` stands up to `stop`, within one epoch.

    Ends at the step whose loss or gradient is not finite, as on a set that
    lives on the devices, though later batches may have been read by then.

    Raises:
      ValueError: If an image does not decode and none may be skipped.
    """
    state, sums, place = carry
    stream = self._stream(data, data_key, place)
    step = (state, sums)
    for _ in range(int(state.step), int(stop)):
      batch = self.devices.spread(stream.take(self.batch_size))
      step = self._step(step, teacher_variables, batch)
    place = _place(stream.position, stream.skipped)
    return (*step, self.devices.replicate(place))

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
    parts, labels = [], []
    for batch in _batches(data, self.batch_size, first):
      labels.append(batch['label'])
      full = self.devices.spread(_filled(batch, self.batch_size))
      # Fetched at once: a set need not fit beside the networks.
      parts.append(jax.device_get(self._judge(variables, full)))
    labels = np.concatenate(labels)
    outputs, embedding = joined(parts, len(labels))
    return Evaluation(outputs, embedding, labels)

  def observe_images(self, variables, data, count: int):
    """What the method sees in the first images, one batch of them at most."""
    (batch,) = _batches(data, self.batch_size, min(count, self.batch_size))
    return self._look(variables, self.devices.spread(batch))

  def _advance_one(self, carry, teacher_variables, batch):
    """One step; a step counts only if all before it were finite."""
    self._traces += 1  # runs while tracing, once per executable
    state, sums = carry
    goes_on = is_finite(sums)
    fresh = state.step % self.steps_per_epoch == 0
    moved, sums = self.one_step(
      (state, restart(sums, fresh & goes_on)), teacher_variables, batch
    )
    step = jnp.where(goes_on, moved.step, state.step)
    return moved.replace(step=step), sums

  def _stream(self, data: StreamedSplit, key: jax.Array, place) -> Stream:
    """The images from a place on; the open stream, if it stands there."""
    seed = int(jax.random.bits(self.devices.local(key)))
    read = int(place['images_read'])
    if self._open is None or (self._open[0], self._open[1].position) != (
      seed,
      read,
    ):
      self.close()
      skipped = int(place['images_skipped'])
      self._open = seed, data.shuffled(seed, read, skipped)
    return self._open[1]

  def _walk(self) -> Iterator[Mapping[str, Any]]:
    """The training set once, in order, as each process has it."""
    yield from _batches(self.train_data, self.batch_size)


def _batches(
  data: StreamedSplit, size: int, first: int | None = None
) -> Iterator[dict[str, np.ndarray]]:
  stream = data.in_order(first)
  try:
    while (batch := stream.take(size)) is not None:
      yield batch
  finally:
    stream.close()


def _filled(batch: dict[str, np.ndarray], size: int) -> dict[str, np.ndarray]:
  """A batch filled up with its last example."""
  missing = size - len(batch['index'])
  return {
    name: np.concatenate([array, np.repeat(array[-1:], missing, axis=0)])
    for name, array in batch.items()
  }


def _place(read: int, skipped: int) -> dict[str, np.ndarray]:
  return {
    'images_read': np.asarray(read, np.int32),
    'images_skipped': np.asarray(skipped, np.int32),
  }
