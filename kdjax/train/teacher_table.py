"""The teacher's outputs on every view of every image, computed once.

A recipe that pads by 4, crops and flips has 162 views of an image. A teacher in
evaluation mode gives each of them the same logits and the same embedding in
every epoch, whatever else is in the batch; a table of all of them costs as much
as 162 epochs of passes and saves every pass of all runs of one teacher. So it
pays where epochs times runs are more than 162, if it fits: images · views ·
(classes + width) numbers in what the teacher computes in. On the devices it is
looked up inside the loop of steps; in the host's memory (`host_table`) before.

Its numbers are the teacher's to the bit; a test holds it on the CPU. The step
around it is another program, in which XLA may round the rest otherwise.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple

import jax
import jax.numpy as jnp

from kdjax.data import Augmentation
from kdjax.features import Features
from kdjax.methods import Method
from kdjax.train.batches import over_batches
from kdjax.train.memory import host_bytes
from kdjax.typing import PyTree

if TYPE_CHECKING:
  from kdjax.train.resident import Program

Place = Literal['device', 'host']
TableUse = Literal['auto', 'device', 'host', 'never']
# `logits` [N, views, K] and `embedding` [N, views, D].
Table = dict[str, jax.Array]

# Of all memory, not of what is left: a run that goes on must decide the same.
_SHARE = 0.5


class Decision(NamedTuple):
  """Where a table of the teacher's outputs lies.

  Attributes:
    place: `None` if there is none: the teacher runs in each step.
    reason: Why there is none.
  """

  place: Place | None
  reason: str = ''


def look_up(table: Table, index: jax.Array, views: jax.Array) -> Features:
  """What the teacher gave of some views: its outputs, and no feature maps.

  Args:
    table: Of the whole training set.
    index: int32 `[B]`, the images' places in it.
    views: int32 `[B]`, see `Augmentation.view`.
  """
  return as_features({k: rows[index, views] for k, rows in table.items()})


def as_features(outputs: dict[str, jax.Array]) -> Features:
  """Rows of a table as what the teacher gave, without feature maps."""
  return Features((), (), (), outputs['embedding'], outputs['logits'])


def decide(
  use: TableUse, program: Program, *, epochs: int, runs: int
) -> Decision:
  """Whether a table takes the teacher's place, and where it lies.

  Args:
    use: `device` and `host` ask neither whether it pays nor whether it fits.
    program: What trains the runs.
    epochs: Of each run.
    runs: How many share the teacher.
  """
  if use == 'never':
    return Decision(None, 'no table of its outputs is asked for')
  if impossible := _impossible(program.parts.method, program):
    return Decision(None, impossible)
  if use != 'auto':
    return Decision(use)
  views = program.parts.augment.views
  if epochs * runs <= views:
    return Decision(
      None, f'a table of {views} views pays beyond {views} epochs'
    )
  memory = program.devices.memory_bytes()
  if memory is None:
    return Decision(
      None, 'how much memory there is for a table is not known here'
    )
  needed = table_bytes(program)
  if needed <= _SHARE * memory:
    return Decision('device')
  if needed <= _SHARE * host_bytes():
    return Decision('host')
  return Decision(
    None, f'a table of {needed / 1e9:.1f} GB does not fit beside the steps'
  )


def table_bytes(program: Program) -> int:
  """What the table takes, on each device or in the memory of each host."""
  return sum(
    math.prod(shape.shape) * shape.dtype.itemsize
    for shape in table_shapes(program).values()
  )


def compute_table(
  program: Program, teacher_variables: PyTree, ask: Callable[[], None]
) -> Table:
  """The whole table, on every device.

  Args:
    program: Of a set that lies on the devices, `batch_size` images at a time.
    teacher_variables: The frozen teacher's.
    ask: Called after each view; may raise, to stop.
  """
  devices = program.devices

  @functools.partial(jax.jit, donate_argnums=0)
  def put(table, found, view):
    return {
      name: jax.lax.dynamic_update_slice(
        whole, found[name][:, None], (0, view, 0)
      )
      for name, whole in table.items()
    }

  table = devices.replicate(
    {n: jnp.zeros(s.shape, s.dtype) for n, s in table_shapes(program).items()}
  )
  for view, found in enumerate(outputs_by_view(program, teacher_variables)):
    table = put(table, found, jnp.int32(view))
    ask()
  return table


def outputs_by_view(
  program: Program, teacher_variables: PyTree
) -> Iterator[dict[str, jax.Array]]:
  """The teacher's outputs on a view of all images, `[N, …]`, view by view."""
  devices, size = program.devices, program.batch_size
  augment, teacher = program.parts.augment, program.parts.teacher
  assert isinstance(augment, Augmentation)
  assert teacher is not None
  images = program.train_data['image']

  @jax.jit
  def outputs(variables, images, view):
    def of_batch(rows):
      rows = devices.split(augment.view(rows, jnp.full(size, view)))
      features, _ = teacher.apply(variables, rows, train=False)
      return devices.gather(_outputs(features))

    return over_batches(of_batch, images, size, -(-len(images) // size))

  for view in range(augment.views):
    yield devices.awaited(outputs(teacher_variables, images, jnp.int32(view)))


def _outputs(features: Features) -> Table:
  return {'logits': features.logits, 'embedding': features.embedding}


def table_shapes(program: Program) -> dict[str, jax.ShapeDtypeStruct]:
  """What the table is made of: `[N, views, …]` each."""
  teacher, augment = program.parts.teacher, program.parts.augment
  assert isinstance(augment, Augmentation)
  assert teacher is not None
  spec = teacher.describe(program.image_shape)
  views = (len(program.train_data['label']), augment.views)
  return {
    name: jax.ShapeDtypeStruct((*views, one.shape[-1]), one.dtype)
    for name, one in _outputs(spec.features).items()
  }


def _impossible(method: Method, program: Program) -> str | None:
  if not isinstance(program.parts.augment, Augmentation):
    return 'its augmentation has no views that could be numbered'
  if not isinstance(program.train_data, dict):
    return 'the set is streamed'
  if method.teacher_mode == 'train':
    return 'it normalises with the batch'
  if method.teacher_reads == 'features':
    return 'the method reads its feature maps'
  return None
