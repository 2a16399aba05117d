"""Computation of the teacher's outputs on every view of every image."""

import functools
import math
import time
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp

from kdjax.data import Augmentation
from kdjax.features import Features
from kdjax.runtime.mesh import Devices
from kdjax.train.batches import empty_results, over_batches_into
from kdjax.train.dispatch import next_chunk
from kdjax.train.resident import ResidentEpochs
from kdjax.typing import PyTree

# `logits` [N, views, K] and `embedding` [N, views, D].
Table = dict[str, jax.Array]


def table_bytes(epochs: ResidentEpochs) -> int:
  """Returns the bytes of the table on each device."""
  return sum(
    math.prod(shape.shape) * shape.dtype.itemsize
    for shape in table_shapes(epochs).values()
  )


def table_shapes(epochs: ResidentEpochs) -> dict[str, jax.ShapeDtypeStruct]:
  """Returns the shapes of the table, `[N, views, …]` each."""
  program = epochs.program
  teacher, augment = program.parts.teacher, program.parts.augment
  assert isinstance(augment, Augmentation)
  assert teacher is not None
  spec = teacher.describe(program.image_shape)
  rows = (len(program.train), augment.views)
  return {
    name: jax.ShapeDtypeStruct((*rows, one.shape[-1]), one.dtype)
    for name, one in _outputs(spec.features).items()
  }


def compute_table(
  epochs: ResidentEpochs,
  teacher_variables: PyTree,
  check: Callable[[], None],
) -> Table:
  """Computes the table, on every device.

  Args:
    epochs: Epochs over the training split.
    teacher_variables: Variables of the teacher.
    check: Called about once a second; may raise, to stop.
  """
  devices = epochs.program.devices

  def set_view(table: Table, outputs: Table, view: jax.Array) -> Table:
    return {
      name: jax.lax.dynamic_update_slice(
        whole, outputs[name][:, None], (0, view, 0)
      )
      for name, whole in table.items()
    }

  set_view = devices.jit(set_view, donate_argnums=0)
  table = devices.replicate(
    {
      name: jnp.zeros(shape.shape, shape.dtype)
      for name, shape in table_shapes(epochs).items()
    }
  )
  for view, outputs in enumerate(
    outputs_by_view(epochs, teacher_variables, check)
  ):
    table = devices.awaited(set_view(table, outputs, jnp.int32(view)))
  return table


def outputs_by_view(
  epochs: ResidentEpochs,
  teacher_variables: PyTree,
  check: Callable[[], None],
) -> Iterator[Table]:
  """Yields the teacher's outputs on all images, `[N, …]`, view by view.

  Args:
    epochs: Epochs over the training split.
    teacher_variables: Variables of the teacher.
    check: Called about once a second; may raise, to stop.
  """
  program = epochs.program
  devices, size = program.devices, program.batch_size
  augment, teacher = program.parts.augment, program.parts.teacher
  assert isinstance(augment, Augmentation)
  assert teacher is not None
  images = epochs.train_data['image']

  def outputs(variables: PyTree, view: jax.Array, images: jax.Array) -> Table:
    batch = devices.split(augment.view(images, jnp.full(size, view)))
    features, _ = teacher.apply(variables, batch, train=False)
    return devices.gather(_outputs(features))

  def empty(variables: PyTree, images: jax.Array) -> Table:
    return empty_results(
      functools.partial(outputs, variables, jnp.int32(0)), images, size
    )

  def advance(
    results: Table,
    variables: PyTree,
    images: jax.Array,
    view: jax.Array,
    first: jax.Array,
    stop: jax.Array,
  ) -> Table:
    return over_batches_into(
      results,
      functools.partial(outputs, variables, view),
      images,
      size,
      first,
      stop,
    )

  compiled = devices.jit(advance, donate_argnums=0)
  batches, chunk = -(-len(images) // size), 1
  empty = devices.jit(empty)
  for view in range(augment.views):

    def fill(results: Table, first: int, stop: int, view: int = view) -> Table:
      bounds = jnp.int32(view), jnp.int32(first), jnp.int32(stop)
      return compiled(results, teacher_variables, images, *bounds)

    results = devices.awaited(empty(teacher_variables, images))
    results, chunk = _in_dispatches(
      fill, results, batches, chunk, devices, check
    )
    yield results


def _in_dispatches(
  fill: Callable[[Table, int, int], Table],
  results: Table,
  batches: int,
  chunk: int,
  devices: Devices,
  check: Callable[[], None],
) -> tuple[Table, int]:
  """Fills results in dispatches of about a second, the first of `chunk`.

  Returns:
    The results, and the length of the next dispatch.
  """
  first = 0
  while first < batches:
    check()
    chunk = devices.of_first(chunk)
    stop, began = min(first + chunk, batches), time.monotonic()
    results = jax.block_until_ready(fill(results, first, stop))
    chunk = next_chunk(chunk, time.monotonic() - began)
    first = stop
  return results, chunk


def _outputs(features: Features) -> Table:
  return {'logits': features.logits, 'embedding': features.embedding}
