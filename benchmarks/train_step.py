"""Speed of a distillation step: separately, in the loop, and in PyTorch.

  python -m benchmarks.train_step --pairs=resnet32x4:resnet8x4 \\
    --methods=kd,fcfd --batch_sizes=64,256,1024 \\
    --precisions=float32,bfloat16 --against=torch

Runs on any device. All variants of a pair, method and batch size take turns: a
step dispatched separately, a step in the loop of many steps per dispatch,
PyTorch's eager loop, and the peak rates of the device, matrix products and
copies, to which the step's operations and bytes are compared.

PyTorch is measured for `kd`: `torch` is float32 with channels first, as in the
field's code, `torch_fast` is channels last under bfloat16 autocast. Its images
are on the device already; ours are drawn, indexed and augmented in the step.
The last lines compare each precision with PyTorch's loop of the same precision.

Writes `train_step.json` and `train_step.png` to `benchmarks/results/`; on an
accelerator its name is appended to `train_step`.
"""

import argparse
import importlib.util
import math
from typing import Any

import jax

from benchmarks import _step_report, flag_types, timing
from benchmarks._step_rows import Settings, measure
from kdjax import methods, models
from kdjax.runtime.cpu_devices import share_cores


def _parser() -> argparse.ArgumentParser:
  parser = flag_types.make_parser(__doc__, repeats=5)
  parser.add_argument(
    '--pairs',
    type=flag_types.pairs,
    default='resnet20:resnet8,resnet32x4:resnet8x4',
    help='teacher:student,…',
  )
  parser.add_argument('--methods', type=flag_types.names, default='kd,kd2m')
  parser.add_argument('--batch_sizes', type=flag_types.numbers, default='64')
  parser.add_argument(
    '--precisions', type=flag_types.precisions, default='float32'
  )
  parser.add_argument('--against', choices=('torch',))
  parser.add_argument(
    '--seconds', type=float, default=2.0, help='approximate duration of a call'
  )
  parser.add_argument(
    '--images',
    type=int,
    default=50_000,
    help='size of the dataset',
  )
  return parser


def _check(flags: argparse.Namespace) -> None:
  """Raises a `ValueError` for invalid flags before anything is compiled."""
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
      f'{", ".join(sorted(unknown))}: omit the flag, or add them to '
      'benchmarks/torch_networks.py.'
    )


def _file_name() -> str:
  kind = jax.devices()[0].device_kind.lower().replace(' ', '_')
  return 'train_step' if kind == 'cpu' else f'train_step_{kind}'


def main(arguments: list[str] | None = None) -> list[dict[str, Any]]:
  """Measures, writes and prints the rows.

  Args:
    arguments: Command-line arguments (default: those of the process).

  Returns:
    The rows.
  """
  flags = _parser().parse_args(arguments)
  _check(flags)
  # Without a cache, so that compile times are measured.
  jax.config.update('jax_enable_compilation_cache', False)
  if arguments is None:  # as a command: devices are not initialized yet
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
            precisions=flags.precisions,
            against_torch=flags.against == 'torch' and method == 'kd',
            images=flags.images,
            seconds=flags.seconds,
            repeats=flags.repeats,
          )
        )
  path = flags.output / f'{_file_name()}.json'
  timing.write(path, rows)
  _step_report.draw(rows, path.with_suffix('.png'))
  print(f'{path}\n\n{_step_report.table(rows)}\n')
  for line in _step_report.ratios(rows):
    print(line)
  return rows


if __name__ == '__main__':
  main()
