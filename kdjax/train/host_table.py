"""A table of the teacher's outputs in the memory of the host.

For tables that no device holds: 11.5 GB are the outputs of a resnet32x4 on all
views of CIFAR-100. Which images and views the steps of a dispatch take is known
before it (seed and step say it), so their rows are gathered by NumPy and handed
over with the dispatch; inside its loop each step takes its own. What is handed
over is bounded, and a dispatch is as long as that holds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
import numpy as np

from kdjax.train.teacher_table import outputs_by_view, table_shapes
from kdjax.typing import PyTree

if TYPE_CHECKING:
  from kdjax.train.resident import Program


_HANDED_OVER = 32 * 2**20  # bytes


class HostTable:
  """The teacher's outputs on every view of every image, whole on this host.

  Attributes:
    outputs: `logits` and `embedding`, `[views, N, …]`: a view is computed at
      once and lies together.
    longest: Steps of a dispatch, at most.
  """

  def __init__(
    self,
    program: Program,
    teacher_variables: PyTree,
    ask: Callable[[], None],
  ):
    """Computes it; arguments as of `teacher_table.compute_table`."""
    self._program = program
    shapes = table_shapes(program)
    self.outputs = {
      name: np.empty((one.shape[1], one.shape[0], one.shape[2]), one.dtype)
      for name, one in shapes.items()
    }
    for view, found in enumerate(outputs_by_view(program, teacher_variables)):
      for name, rows in program.devices.local(found).items():
        self.outputs[name][view] = rows
      ask()
    row = sum(one.shape[2] * one.dtype.itemsize for one in shapes.values())
    fits = _HANDED_OVER // (row * program.batch_size)
    self.longest = max(1, min(fits, program.steps_per_epoch))
    self._seen = jax.jit(program.seen, static_argnames='count')

  def ahead(
    self, key: jax.Array, order: jax.Array, step: int, stop: int
  ) -> dict[str, jax.Array]:
    """The rows that the steps from `step` to before `stop` look up.

    Args:
      key: Of the state.
      order: Of the epoch.
      step: Where the carry stands.
      stop: In the same epoch, and at most `longest` further.

    Returns:
      On the devices, `[longest, B, …]` each; what is behind is not used.
    """
    local = self._program.devices.local
    index, views = map(
      np.asarray,
      self._seen(local(key), local(order), np.int32(step), self.longest),
    )
    taken = slice(stop - step)
    found = {}
    for name, rows in self.outputs.items():
      handed = np.zeros((*index.shape, rows.shape[-1]), rows.dtype)
      handed[taken] = rows[views[taken], index[taken]]
      found[name] = handed
    return self._program.devices.replicate(found)
