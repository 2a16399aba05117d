"""Cost of the teacher in a step, and of the ways to reduce it.

  python -m benchmarks.teacher --pairs=resnet20:resnet8,resnet32x4:resnet8x4

Method kd on all devices, one epoch of a small random dataset per dispatch. The
variants take turns: the teacher as it was trained (`live`), with batch norm
folded (`folded`), with its outputs looked up in a table on the devices
(`device`), and the student alone (`none`). Writes
`benchmarks/results/teacher.json`: seconds of a step and of the teacher's
forward pass, and the number of epochs after which a table of the usual 162
views has paid for itself; the table that is looked up here has fewer views.
"""

import argparse
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import flag_types, timing
from benchmarks._program import first_epoch
from benchmarks._step import Pair
from kdjax.runtime.cpu_devices import share_cores
from kdjax.train import Frozen
from kdjax.train.teacher_outputs import compute_table, outputs_by_view
from kdjax.train.teacher_table import with_table
from kdjax.typing import PyTree

_PADDING = 1  # 18 views
_VIEWS = 162


def main() -> None:
  """Measures and writes."""
  parser = flag_types.make_parser(__doc__, repeats=9)
  parser.add_argument(
    '--pairs', type=flag_types.pairs, default='resnet20:resnet8'
  )
  parser.add_argument('--batch_size', type=int, default=64)
  parser.add_argument('--steps', type=int, default=8, help='steps per epoch')
  parser.add_argument('--precision', default='float32')
  flags = parser.parse_args()
  share_cores(flags.batch_size)
  rows = [_row(teacher, student, flags) for teacher, student in flags.pairs]
  timing.record(flags.output / 'teacher.json', rows)


def _row(
  teacher: str, student: str, flags: argparse.Namespace
) -> dict[str, Any]:
  print(f'{teacher}:{student}', flush=True)
  arguments = flags.batch_size, flags.precision, flags.steps
  pair = Pair(teacher, student, 'kd', *arguments, crop_padding=_PADDING)
  alone = Pair(None, student, 'none', *arguments)
  folded = _folded(pair)
  table = compute_table(pair.epochs, pair.frozen.teacher, _never_stop)
  looked_up = dataclasses.replace(pair.frozen, table=table)
  table_seconds = _VIEWS * _seconds_of_a_view(pair)
  seconds = timing.take_turns(
    {
      'live': first_epoch(pair.epochs, pair.state, pair.frozen),
      'folded': first_epoch(pair.epochs, pair.state, Frozen(teacher=folded)),
      'device': first_epoch(with_table(pair.epochs), pair.state, looked_up),
      'none': first_epoch(alone.epochs, alone.state, alone.frozen),
    },
    repeats=flags.repeats,
  )
  per_step = timing.per_step(seconds, flags.steps)
  saved = per_step['live']['median'] - per_step['device']['median']
  return {
    'pair': f'{teacher}:{student}',
    'batch_size': flags.batch_size,
    'precision': flags.precision,
    'devices': pair.program.devices.count,
    'over_live': {
      variant: timing.ratio(seconds, variant, 'live') for variant in seconds
    },
    'forward_folded_over_live': _forward(pair, folded, flags.repeats),
    'epochs_until_the_table_pays': (
      timing.digits(table_seconds / (flags.steps * saved))
      if saved > 0
      else None
    ),
    'seconds_of_a_step': per_step,
  }


def _seconds_of_a_view(pair: Pair) -> float:
  """Measures the teacher on the dataset once, without compile time."""
  views = outputs_by_view(pair.epochs, pair.frozen.teacher, _never_stop)
  jax.block_until_ready(next(views))  # compiles
  return timing.timed(lambda: jax.block_until_ready(next(views)))[1]


def _folded(pair: Pair) -> PyTree:
  """Returns the teacher's variables with batch norm folded."""
  network = pair.program.parts.teacher
  assert network is not None
  variables = network.folded(pair.frozen.teacher, pair.program.image_shape)
  return pair.program.devices.replicate(variables)


def _forward(pair: Pair, folded: PyTree, repeats: int) -> dict[str, Any]:
  """Compares the teacher's forward pass on a batch, folded and unfolded."""
  network = pair.program.parts.teacher
  assert network is not None
  images = pair.batch['image'].astype(jnp.float32) / 255

  def logits(variables: PyTree, images: jax.Array) -> jax.Array:
    return network.apply(variables, images, train=False)[0].logits

  seconds = timing.take_turns(
    {
      'live': timing.compiled(logits, pair.frozen.teacher, images),
      'folded': timing.compiled(logits, folded, images),
    },
    repeats=repeats,
  )
  return {
    'median': timing.ratio(seconds, 'folded', 'live'),
    'seconds': seconds,
  }


def _never_stop() -> None:
  """Does nothing: no signal interrupts a benchmark."""


if __name__ == '__main__':
  main()
