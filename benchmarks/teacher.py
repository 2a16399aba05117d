"""What the teacher costs in a step, and what it costs to have it cheaper.

  python -m benchmarks.teacher --pairs=resnet20:resnet8,resnet32x4:resnet8x4

In turns, kd, on whatever devices there are, one epoch per dispatch of a small
set of noise: with the teacher as it was trained (`live`), with its batch norm
folded (`folded`), and with its outputs looked up in a table on the devices
(`device`) or in the host's memory (`host`); and the student by itself (`none`).
Writes `benchmarks/results/teacher.json`: seconds of a step and of the teacher's
forward pass, and after how many epochs of runs a table of the field's 162 views
is paid; the one that is looked up here has fewer.
"""

import argparse
import functools
import time
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import _record
from benchmarks._step import IMAGE_SHAPE, Jax
from kdjax.runtime.cpu_devices import share_cores
from kdjax.studies.schedule import one_by_one
from kdjax.train.host_table import HostTable
from kdjax.train.loop import Dispatch
from kdjax.train.teacher_table import compute_table, outputs_by_view

PyTree = Any

_PADDING = 1  # 18 views
_VIEWS = 162


def main() -> None:
  """Measures and writes."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--pairs', default='resnet20:resnet8')
  parser.add_argument('--batch_size', type=int, default=64)
  parser.add_argument('--steps', type=int, default=8, help='of an epoch')
  parser.add_argument('--precision', default='float32')
  parser.add_argument('--repeats', type=int, default=9)
  flags = parser.parse_args()
  share_cores(flags.batch_size)
  rows = [_row(*pair.split(':'), flags) for pair in flags.pairs.split(',')]
  _record.record('teacher', rows)


def _row(teacher: str, student: str, flags) -> dict[str, Any]:
  print(f'{teacher}:{student}', flush=True)
  arguments = flags.batch_size, flags.precision, flags.steps
  made = Jax(teacher, student, 'kd', *arguments, crop_padding=_PADDING)
  alone = Jax(None, student, 'none', *arguments)
  live, folded = made.teacher, _folded(made)
  table = compute_table(made.program, live, _nothing)
  host = HostTable(made.program, live, _nothing)
  to_compute = _VIEWS * _seconds_of_a_view(made)
  seconds = _record.side_by_side(
    {
      'live': functools.partial(_epoch, made, live),
      'folded': functools.partial(_epoch, made, folded),
      'device': functools.partial(_epoch, made, {**live, 'table': table}),
      'host': functools.partial(_epoch, made, live, host),
      'none': functools.partial(_epoch, alone, {}),
    },
    repeats=flags.repeats,
  )
  step = {
    way: {name: value / flags.steps for name, value in found.items()}
    for way, found in seconds.items()
  }
  median = {way: found['median'] for way, found in step.items()}
  saved = {way: median['live'] - median[way] for way in ('device', 'host')}
  return {
    'pair': f'{teacher}:{student}',
    'batch_size': flags.batch_size,
    'precision': flags.precision,
    'devices': made.program.devices.count,
    'over_live': {
      way: round(value / median['live'], 3) for way, value in median.items()
    },
    'forward_folded_over_live': _forward(made, live, folded, flags.repeats),
    'epochs_until_the_table_pays': {
      way: round(to_compute / (flags.steps * value), 1) if value > 0 else None
      for way, value in saved.items()
    },
    'seconds_of_a_step': step,
  }


def _seconds_of_a_view(made: Jax) -> float:
  """The teacher over the set once, the compiler's time aside."""
  views = outputs_by_view(made.program, made.teacher)
  jax.block_until_ready(next(views))
  began = time.perf_counter()
  jax.block_until_ready(next(views))
  return time.perf_counter() - began


def _folded(made: Jax) -> PyTree:
  network = made.parts.teacher
  assert network is not None
  return made.program.devices.replicate(
    network.folded(made.teacher, IMAGE_SHAPE)
  )


def _epoch(made: Jax, teacher: PyTree, host: HostTable | None = None) -> None:
  """The first steps, with everything that goes before their dispatch."""
  carry = jax.tree.map(lambda array: array.copy(), made.carry)
  stop, looked_up = made.steps_per_epoch, None
  if host is not None:
    looked_up = host.ahead(carry[0].key, made.order, 0, stop)
  asked = {0: Dispatch(carry, teacher, made.order, stop, looked_up)}
  found = one_by_one(made.program)(asked)[0]
  if int(found[0].step) != stop:
    raise ValueError(f'The loop ended at step {int(found[0].step)} of {stop}.')


def _forward(
  made: Jax, live: PyTree, folded: PyTree, repeats: int
) -> dict[str, Any]:
  """The teacher's forward pass over a batch, folded against not."""
  network = made.parts.teacher
  assert network is not None
  images = made.batch['image'].astype(jnp.float32) / 255

  @jax.jit
  def logits(variables, images):
    return network.apply(variables, images, train=False)[0].logits

  seconds = _record.side_by_side(
    {
      name: lambda variables=variables: logits(
        variables, images
      ).block_until_ready()
      for name, variables in (('live', live), ('folded', folded))
    },
    repeats=repeats,
  )
  ratio = seconds['folded']['median'] / seconds['live']['median']
  return {'median': round(ratio, 3), 'seconds': seconds}


def _nothing() -> None:
  """Nobody asks to stop."""


if __name__ == '__main__':
  main()
