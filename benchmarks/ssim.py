"""SSIM of a detector's feature maps against kornia's formula in PyTorch.

  python -m benchmarks.ssim

Writes `benchmarks/results/ssim.json`: seconds of value and gradient in the
student's map, in turns, float32, of 256 channels, one image, at the sizes that
P3 to P7 have for an image of 800 x 1216 pixels (stages 8 x 8 and 16 x 16 of
small images besides), by

  ours      `losses.ssim`, which chooses for each axis
  products  both axes as products with banded matrices
  shifts    both axes as sums of shifted maps
  torch     benchmarks/torch_ssim.py

`--sizes 200x304` prints others and writes nothing.
"""

import argparse
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import _record, torch_ssim
from kdjax import losses

# Batch, height, width, channels.
LEVELS = {
  'P3': (1, 100, 152, 256),
  'P4': (1, 50, 76, 256),
  'P5': (1, 25, 38, 256),
  'P6': (1, 13, 19, 256),
  'P7': (1, 7, 10, 256),
  'stage 16x16': (64, 16, 16, 128),
  'stage 8x8': (64, 8, 8, 256),
}
WAYS = {
  'ours': losses.window_means,
  'products': losses.window_means_by_products,
  'shifts': losses.window_means_by_shifts,
}


def measure(name: str, shape: tuple[int, ...], repeats: int) -> dict[str, Any]:
  """All contestants on one pair of maps."""
  rng = np.random.default_rng(0)
  pair = rng.uniform(size=(2, *shape)).astype(np.float32)
  here = tuple(jnp.asarray(maps) for maps in pair)
  there = tuple(torch_ssim.maps(maps) for maps in pair)
  calls, values = {}, {}
  for way, means in WAYS.items():
    loss = functools.partial(_mean_loss, means)
    step = jax.jit(jax.value_and_grad(loss))
    values[way] = float(step(*here)[0])
    calls[way] = functools.partial(_finish, step, here)
  calls['torch'] = functools.partial(torch_ssim.value_and_gradient, *there)
  wanted, _ = calls['torch']()
  for way, value in values.items():
    if not abs(value - wanted) <= 1e-5:
      raise ValueError(f'{way} has {value}, PyTorch {wanted}.')
  seconds = _record.side_by_side(calls, repeats=repeats)
  medians = {way: times['median'] for way, times in seconds.items()}
  return {
    'level': name,
    'shape': list(shape),
    **{
      f'{way}_over_torch': float(f'{medians[way] / medians["torch"]:.3g}')
      for way in WAYS
    },
    'seconds': seconds,
  }


def _mean_loss(means, student, teacher):
  return losses.ssim(student, teacher, means=means).mean()


def _finish(step, pair):
  return jax.block_until_ready(step(*pair))


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--repeats', type=int, default=15)
  parser.add_argument('--sizes', nargs='+', help='HEIGHTxWIDTH, one image each')
  flags = parser.parse_args()
  levels = LEVELS
  if flags.sizes:
    levels = {
      size: (1, *map(int, size.split('x')), 256) for size in flags.sizes
    }
  rows = []
  for name, shape in levels.items():
    print(f'measuring {name}', flush=True)
    rows.append(measure(name, shape, flags.repeats))
    if flags.sizes:
      print(rows[-1])
  pyramid = [row for row in rows if row['level'].startswith('P')]
  if flags.sizes:
    return
  total = {
    way: sum(row['seconds'][way]['median'] for row in pyramid)
    for way in (*WAYS, 'torch')
  }
  rows.append(
    {
      'level': 'P3 to P7',
      **{
        f'{way}_over_torch': float(f'{total[way] / total["torch"]:.3g}')
        for way in WAYS
      },
    }
  )
  _record.record('ssim', rows)


if __name__ == '__main__':
  main()
