"""A distillation step: alone, in the loop over resident data, and PyTorch's.

  python -m benchmarks.train_step --pairs=resnet32x4:resnet8x4 \\
    --methods=kd,fcfd --batch_sizes=64,256,1024 \\
    --precisions=float32,bfloat16 --against=torch

Runs on whatever device is there. Everything of a pair, method and batch size
takes turns: a step dispatched by itself, one in the loop of many steps per
dispatch, PyTorch's eager loop, and what the device does at best: products of
matrices and copies, of which the step's operations and bytes are a share.

PyTorch is there for `kd`: `torch` is float32 in its own order, as the field's
codes are, `torch_fast` channels last under bfloat16 autocast. Its images are on
the device already; ours are drawn, indexed and augmented in the step. The last
lines compare each precision with the loop of that precision.

Writes `train_step.json` and `train_step.png` under `benchmarks/results/`, on an
accelerator with its name behind `train_step`.
"""

import argparse
import importlib.util
import math
import pathlib
from typing import Any

import jax

from benchmarks import _record, _step_report
from benchmarks._step_rows import Settings, measure
from kdjax import methods, models
from kdjax.runtime.cpu_devices import share_cores

PRECISIONS = ('float32', 'bfloat16')


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument(
    '--pairs',
    type=_pairs,
    default='resnet20:resnet8,resnet32x4:resnet8x4',
    help='teacher:student,…',
  )
  parser.add_argument('--methods', type=_names, default='kd,kd2m')
  parser.add_argument('--batch_sizes', type=_numbers, default='64')
  parser.add_argument('--precisions', type=_precisions, default='float32')
  parser.add_argument('--against', choices=('torch',))
  parser.add_argument('--repeats', type=int, default=5)
  parser.add_argument(
    '--seconds', type=float, default=2.0, help='of a call, about'
  )
  parser.add_argument(
    '--images', type=int, default=50_000, help='of the set on the device'
  )
  parser.add_argument('--output', type=pathlib.Path, default=_record.FOLDER)
  return parser


def _names(text: str) -> list[str]:
  return text.split(',')


def _numbers(text: str) -> list[int]:
  return [int(number) for number in text.split(',')]


def _precisions(text: str) -> list[str]:
  found = _names(text)
  if not set(found) <= set(PRECISIONS):
    raise argparse.ArgumentTypeError(
      f'{text}: each is one of {", ".join(PRECISIONS)}'
    )
  return found


def _pairs(text: str) -> list[tuple[str, str]]:
  pairs = [tuple(pair.split(':')) for pair in text.split(',')]
  if any(len(pair) != 2 for pair in pairs):
    raise argparse.ArgumentTypeError(f'{text}: each is teacher:student')
  return pairs


def _check(flags: argparse.Namespace) -> None:
  """Raises before anything is compiled, if something would fail later."""
  for name in flags.methods:
    methods.create(name)
  networks = {name for pair in flags.pairs for name in pair}
  for name in networks:
    models.check_name(name)
  if flags.images < max(flags.batch_sizes):
    raise ValueError(
      f'{flags.images} images do not fill a batch of {max(flags.batch_sizes)}: '
      'give more --images.'
    )
  if flags.against != 'torch':
    return
  if not importlib.util.find_spec('torch'):
    raise ValueError('--against=torch needs PyTorch: pip install torch.')
  from benchmarks import torch_networks

  unknown = networks - set(torch_networks.NETWORKS)
  if unknown:
    raise ValueError(
      f'--against=torch knows {", ".join(torch_networks.NETWORKS)}, got '
      f'{", ".join(sorted(unknown))}: leave the flag away, or add them to '
      'benchmarks/torch_networks.py.'
    )


def _file_name() -> str:
  kind = jax.devices()[0].device_kind.lower().replace(' ', '_')
  return 'train_step' if kind == 'cpu' else f'train_step_{kind}'


def main(arguments: list[str] | None = None) -> list[dict[str, Any]]:
  """Measures, writes, prints."""
  flags = _parser().parse_args(arguments)
  _check(flags)
  # Compile times are those of a program that is nowhere kept.
  jax.config.update('jax_enable_compilation_cache', False)
  if arguments is None:  # as a command; nothing has asked for devices yet
    share_cores(math.gcd(*flags.batch_sizes))
  rows = []
  for teacher, student in flags.pairs:
    for method in flags.methods:
      for batch_size in flags.batch_sizes:
        print(f'{teacher}:{student} {method} {batch_size}', flush=True)
        rows += measure(
          Settings(
            teacher=teacher,
            student=student,
            method=method,
            batch_size=batch_size,
            precisions=tuple(flags.precisions),
            against_torch=flags.against == 'torch' and method == 'kd',
            images=flags.images,
            seconds=flags.seconds,
            repeats=flags.repeats,
          )
        )
  path = flags.output / f'{_file_name()}.json'
  _record.write(path, rows)
  _step_report.draw(rows, path.with_suffix('.png'))
  print(f'{path}\n\n{_step_report.table(rows)}\n')
  for line in _step_report.ratios(rows):
    print(line)
  return rows


if __name__ == '__main__':
  main()
