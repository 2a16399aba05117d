"""The state of training, and the frozen arguments of a step."""

import math
from typing import Any

import jax
import numpy as np
import optax
from flax import struct

from kdjax.typing import PyTree, Variables


@struct.dataclass
class TrainState:
  """State between two steps.

  Attributes:
    step: int32 `[]`, steps completed.
    params: Float32 parameters: `student`, and `method` for the method's own.
    batch_stats: The student's running statistics.
    teacher_stats: The teacher's running statistics for methods whose teacher
      normalizes with the batch; otherwise an empty tree.
    method_state: The method's untrained variables.
    opt_state: State of the optimizer.
    averages: Averages of weights by name; see `kdjax.train.averaging`.
    key: Random key of the run; never advanced, each step folds its number in.
  """

  step: jax.Array
  params: PyTree
  batch_stats: PyTree
  teacher_stats: PyTree
  method_state: PyTree
  opt_state: optax.OptState
  key: jax.Array
  averages: dict[str, PyTree] = struct.field(default_factory=dict)

  @property
  def student_variables(self) -> Variables:
    """Variables of the student."""
    return {'params': self.params['student'], 'batch_stats': self.batch_stats}

  @property
  def method_variables(self) -> Variables:
    """Variables of the method."""
    return {'params': self.params['method'], 'state': self.method_state}


@struct.dataclass
class Carry:
  """Values that the loop over steps passes from one step to the next.

  Attributes:
    state: State of training.
    sums: Float32 sums of the metrics of this epoch's steps by name, weighted
      by the examples of each batch.
    read: int32 counts of images read from a streamed dataset; empty for data
      that reside on the devices.
    best: The best score so far, a float64 as uint32 `[2]`; see `best_score`.
  """

  state: TrainState
  sums: dict[str, jax.Array]
  read: dict[str, jax.Array] = struct.field(default_factory=dict)
  best: Any = struct.field(default_factory=lambda: as_bits(-math.inf))


def as_bits(score: float) -> np.ndarray:
  """Returns a float64 as uint32 `[2]`, which no device rounds."""
  return np.asarray([score], np.float64).view(np.uint32)


def best_score(carry: Carry) -> float:
  """Returns the best score so far; minus infinity before the first."""
  return float(np.asarray(carry.best).view(np.float64)[0])


@struct.dataclass
class Frozen:
  """Arguments of a compiled step that training never changes.

  Attributes:
    teacher: Variables of the teacher; empty without one.
    table: The teacher's outputs on all views of all images; empty unless the
      step looks them up. See `kdjax.train.teacher_table`.
    settings: Float settings of the method by name, in which arms of a sweep
      differ while they share one program.
  """

  teacher: Any
  table: dict[str, jax.Array] = struct.field(default_factory=dict)
  settings: dict[str, jax.Array] = struct.field(default_factory=dict)
