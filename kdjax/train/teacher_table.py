"""The teacher's outputs on every view of every image, computed once.

A recipe that pads by 4, crops and flips has 162 views of an image. A teacher in
evaluation mode gives each of them the same logits and the same embedding in
every epoch, whatever else is in the batch; a table of all of them costs as much
as 162 epochs of passes and saves every pass of all runs of one teacher. So it
pays where epochs times runs are more than 162, if it fits: images · views ·
(classes + width) numbers in what the teacher computes in.

Its numbers are the teacher's to the bit; a test holds it on the CPU. The step
around it is another program, in which XLA may round the rest otherwise.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.numpy as jnp

from kdjax.data import Augmentation
from kdjax.features import Features
from kdjax.methods import Method

if TYPE_CHECKING:
  from kdjax.train.program import Program

PyTree = Any
TableUse = Literal['auto', 'always', 'never']
# `logits` [N, views, K] and `embedding` [N, views, D].
Table = dict[str, jax.Array]

# Of all memory, not of what is left: a run that goes on must decide the same.
_SHARE = 0.5


def look_up(table: Table, index: jax.Array, views: jax.Array) -> Features:
  """What the teacher gave of some views: its outputs, and no feature maps.

  Args:
    table: Of the whole training set.
    index: int32 `[B]`, the images' places in it.
    views: int32 `[B]`, see `Augmentation.view`.
  """
  found = {name: rows[index, views] for name, rows in table.items()}
  return Features((), (), (), found['embedding'], found['logits'])


def reason_against(
  use: TableUse, program: Program, *, epochs: int, runs: int
) -> str | None:
  """Why the teacher runs in each step, or `None` if a table takes its place.

  Args:
    use: `always` asks neither whether it pays nor whether it fits.
    program: What trains the runs.
    epochs: Of each run.
    runs: How many share the teacher.
  """
  if use == 'never':
    return 'no table of its outputs is asked for'
  impossible = _impossible(program.parts.method, program)
  if impossible or use == 'always':
    return impossible
  views = program.parts.augment.views
  if epochs * runs <= views:
    return f'a table of {views} views pays beyond {views} epochs'
  memory = program.devices.memory_bytes()
  if memory is None:
    return 'how much memory there is for a table is not known here'
  needed = table_bytes(program)
  if needed > _SHARE * memory:
    return f'a table of {needed / 1e9:.1f} GB does not fit beside the steps'
  return None


def table_bytes(program: Program) -> int:
  """What the table takes on each device."""
  return sum(
    math.prod(shape.shape) * shape.dtype.itemsize
    for shape in _shapes(program).values()
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
  devices, size = program.devices, program.batch_size
  augment, teacher = program.parts.augment, program.parts.teacher
  assert isinstance(augment, Augmentation)
  assert teacher is not None
  count = len(program.train_data['label'])

  @functools.partial(jax.jit, donate_argnums=0)
  def fill(table, variables, images, view):
    def step(number, table):
      # The last batch begins earlier, so that it is whole.
      start = jnp.minimum(number * size, count - size)
      rows = jax.lax.dynamic_slice_in_dim(images, start, size)
      rows = devices.split(augment.view(rows, jnp.full(size, view)))
      features, _ = teacher.apply(variables, rows, train=False)
      found = devices.gather(_outputs(features))
      return {
        name: jax.lax.dynamic_update_slice(
          whole, found[name][:, None], (start, view, 0)
        )
        for name, whole in table.items()
      }

    return jax.lax.fori_loop(0, -(-count // size), step, table)

  table = devices.replicate(
    {name: jnp.zeros(s.shape, s.dtype) for name, s in _shapes(program).items()}
  )
  for view in range(augment.views):
    table = fill(
      table, teacher_variables, program.train_data['image'], jnp.int32(view)
    )
    ask()
  return table


def _outputs(features: Features) -> Table:
  return {'logits': features.logits, 'embedding': features.embedding}


def _shapes(program: Program) -> dict[str, jax.ShapeDtypeStruct]:
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
