"""The teacher's outputs on every view of every image, computed once.

A recipe that pads by 4, crops and flips has 162 views of an image. In
evaluation mode a teacher returns the same logits and embedding for a view in
every epoch, independently of the rest of the batch. A table of all views costs
the teacher's passes of 162 epochs and saves those of all runs that share the
teacher. It is useful if more epochs than views remain over all runs, and if the
devices have enough memory: images · views · (classes + width) numbers in the
precision of the teacher.

The looked-up values are bit-identical to the teacher's, which is tested on the
CPU. The step around them is another program, in which XLA may round the rest
differently.
"""

import dataclasses
import threading
from collections.abc import Callable
from typing import Literal

import jax

from kdjax.data import Augmentation
from kdjax.features import Features
from kdjax.runtime.mesh import Devices
from kdjax.train.epochs import Epochs
from kdjax.train.parts import Parts
from kdjax.train.resident import ResidentEpochs
from kdjax.train.state import Frozen, TrainState
from kdjax.train.step import Metrics, Step, make_step, step_keys
from kdjax.train.teacher_outputs import Table, compute_table, table_bytes
from kdjax.typing import Batch, PyTree

TableUse = Literal['auto', 'device', 'never']

# Of total memory, not of free memory: a resumed run must decide the same.
_MEMORY_SHARE = 0.5


def table_step(parts: Parts) -> Step:
  """Returns the training step whose teacher's outputs are looked up.

  It is the step of `make_step` with a teacher that returns rows of
  `Frozen.table`.

  Args:
    parts: `Parts` with an `Augmentation`, whose views are numbered.
  """

  augment, teacher = parts.augment, parts.teacher
  assert isinstance(augment, Augmentation)
  assert teacher is not None

  def step(
    state: TrainState, frozen: Frozen, batch: Batch
  ) -> tuple[TrainState, Metrics]:
    augment_key, _ = step_keys(state.key, state.step)
    views = augment.draw(augment_key, len(batch['index']))
    features = look_up(frozen.table, batch['index'], views)
    looked_up = dataclasses.replace(
      parts,
      teacher=dataclasses.replace(teacher, forward=lambda *_: (features, {})),
    )
    return make_step(looked_up)(state, frozen, batch)

  return step


def look_up(table: Table, index: jax.Array, views: jax.Array) -> Features:
  """Returns the teacher's outputs on some views, without feature maps.

  Args:
    table: The table of the training split.
    index: Rows of the images in the split, int32 `[B]`.
    views: Numbers of their views, int32 `[B]`; see `Augmentation.view`.
  """
  rows = {name: array[index, views] for name, array in table.items()}
  return Features((), (), (), rows['embedding'], rows['logits'])


class TeacherTable:
  """Decides whether a table is useful, and computes it for the first run.

  Args:
    use: `never`; `device` whenever possible; `auto` if it saves time
      and fits.
    epochs_left: Returns the remaining epochs of all runs of the teacher.
    say: Called with messages for the user.
  """

  def __init__(
    self,
    use: TableUse,
    epochs_left: Callable[[], int],
    say: Callable[[str], None],
  ):
    self._use = use
    self._epochs_left = epochs_left
    self._say = say
    self._tables: dict[Devices, Table] = {}
    self._with_table: dict[Epochs, ResidentEpochs] = {}
    self._reason: str | None = None
    self._deciding = threading.Lock()  # once for all runs, which may be threads

  def epochs_for(self, epochs: Epochs) -> Epochs:
    """Returns the epochs with looked-up outputs, or unchanged.

    Args:
      epochs: Epochs of a run that is about to train.
    """
    with self._deciding:
      if self._reason is None:
        self._reason = self._reason_against(epochs)
        if self._use == 'device' and self._reason:
          self._say(f'The teacher runs in each step: {self._reason}.')
    if self._reason:
      return epochs
    if epochs not in self._with_table:
      assert isinstance(epochs, ResidentEpochs)
      self._with_table[epochs] = with_table(epochs)
    return self._with_table[epochs]

  def table(
    self, epochs: Epochs, teacher_variables: PyTree, check: Callable[[], None]
  ) -> Table:
    """Returns the table for some epochs; empty if they do not use it.

    Args:
      epochs: Result of `epochs_for`.
      teacher_variables: Variables of the teacher, on the devices.
      check: Called about once a second; may raise, to stop.
    """
    if epochs.program.base_step is not table_step:
      return {}
    assert isinstance(epochs, ResidentEpochs)
    devices = epochs.program.devices
    if devices not in self._tables:
      size = table_bytes(epochs) / 1e9
      self._say(
        f"Computing the teacher's outputs, {size:.2g} GB on the devices"
      )
      self._tables[devices] = compute_table(epochs, teacher_variables, check)
    return self._tables[devices]

  def _reason_against(self, epochs: Epochs) -> str:
    """Returns why there is no table; empty if there is one."""
    if self._use == 'never':
      return 'no table of its outputs was requested'
    program = epochs.program
    reason = _impossible(epochs)
    if reason or self._use == 'device':
      return reason
    assert isinstance(epochs, ResidentEpochs)
    assert isinstance(program.parts.augment, Augmentation)
    views = program.parts.augment.views
    left = self._epochs_left()
    if left <= views:
      return f'a table of {views} views needs more remaining epochs than {left}'
    memory = program.devices.memory_bytes()
    if memory is None:
      return 'the memory of these devices is not known'
    needed = table_bytes(epochs)
    if needed > _MEMORY_SHARE * memory:
      return f'a table of {needed / 1e9:.1f} GB does not fit in memory'
    return ''


def with_table(epochs: ResidentEpochs) -> ResidentEpochs:
  """Returns the same epochs with the teacher's outputs looked up."""
  program = dataclasses.replace(epochs.program, base_step=table_step)
  return epochs.with_program(program)


def _impossible(epochs: Epochs) -> str:
  """Returns why there cannot be a table; empty if there can."""
  parts = epochs.program.parts
  if not isinstance(parts.augment, Augmentation):
    return 'its augmentation has no views that could be numbered'
  if not isinstance(epochs, ResidentEpochs):
    return 'the data are streamed'
  if parts.method.teacher_mode == 'train':
    return 'it normalizes with the batch'
  if parts.method.teacher_reads == 'features':
    return 'the method reads its feature maps'
  return ''
