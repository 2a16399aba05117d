"""Everything a run must save to go on where it stopped."""

import jax
import optax
from flax import struct

from kdjax.typing import PyTree


@struct.dataclass
class TrainState:
  """The state between two steps.

  Attributes:
    step: int32 `[]`, steps done.
    params: Float32 masters: `student` and the method's own `method`.
    batch_stats: The student's running statistics.
    teacher_stats: The teacher's running statistics for methods that let them
      drift; otherwise an empty tree, and the teacher's own are used.
    method_state: What the method carries and does not train.
    opt_state: The optimiser's.
    ema: Moving average of `params`; an empty tree if not kept.
    snapshots: Sum of `params` and `batch_stats` at the ends of the last epochs;
      an empty tree if not kept.
    key: Of the run; never advanced, each step folds its number in.
    numbers: Settings of this run that are arguments of its program, by name;
      see `kdjax.train.numbers`.
  """

  step: jax.Array
  params: PyTree
  batch_stats: PyTree
  teacher_stats: PyTree
  method_state: PyTree
  opt_state: optax.OptState
  ema: PyTree
  snapshots: PyTree
  key: jax.Array
  numbers: PyTree = struct.field(default_factory=dict)

  @property
  def student_variables(self) -> PyTree:
    """What the student is evaluated and exported with."""
    return {
      'params': (self.ema or self.params)['student'],
      'batch_stats': self.batch_stats,
    }

  @property
  def method_variables(self) -> dict[str, PyTree]:
    """The method's variables that go with `student_variables`."""
    params = (self.ema or self.params)['method']
    return {'params': params, 'state': self.method_state}
