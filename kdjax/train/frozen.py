"""How the frozen teacher takes part in the steps of some runs."""

from collections.abc import Callable
from typing import Literal

import jax

from kdjax.methods import Method
from kdjax.network import Network
from kdjax.train.host_table import HostTable
from kdjax.train.resident import Program
from kdjax.train.teacher_table import (
  Table,
  TableUse,
  compute_table,
  decide,
  table_bytes,
)
from kdjax.typing import PyTree

FoldUse = Literal['auto', 'always', 'never']


def inference_variables(
  network: Network,
  variables: PyTree,
  image_shape: tuple[int, ...],
  *,
  use: FoldUse,
  method: Method,
) -> PyTree:
  """The teacher's variables as a method's steps take them.

  With batch norm folded into the layers before, but where the method has the
  teacher normalise with the batch, and, by `auto`, on a CPU: there the compiler
  computes a norm together with the activation behind it, and nothing is saved
  (docs/benchmarks.md).
  """
  on_cpu = jax.default_backend() == 'cpu'
  if use == 'never' or (use == 'auto' and on_cpu):
    return variables
  if method.teacher_mode == 'train':
    return variables
  return network.folded(variables, image_shape)


def table_maker(
  program: Program,
  use: TableUse,
  *,
  epochs: int,
  runs: int,
  say: Callable[[str], None],
  ask: Callable[[], None],
) -> Callable[[PyTree], Table | HostTable] | None:
  """What gives the table of the one teacher's outputs.

  Args:
    program: What trains the runs.
    use: What was asked for.
    epochs: Of each run.
    runs: How many there are.
    say: Told what a person should know.
    ask: Called while the table is computed; may raise, to stop.

  Returns:
    `None` if the teacher runs in each step. The table is computed when the
    first run asks for it.
  """
  place, reason = decide(use, program, epochs=epochs, runs=runs)
  if place is None:
    if use in ('device', 'host'):
      say(f'The teacher runs in each step: {reason}.')
    return None
  compute = compute_table if place == 'device' else HostTable
  where = 'the devices' if place == 'device' else "the host's memory"
  made: list[Table | HostTable] = []

  def table(variables: PyTree) -> Table | HostTable:
    if not made:
      size = table_bytes(program) / 1e9
      say(f"Computing the teacher's outputs, {size:.2g} GB in {where}")
      made.append(compute(program, variables, ask))
    return made[0]

  return table
