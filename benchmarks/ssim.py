"""SSIM of feature maps, compared with kornia's formula in PyTorch.

  python -m benchmarks.ssim

Value and gradient with respect to the student's map, float32, for one image of
800 x 1216 pixels with the feature maps P3 to P7 of a detector, 256 channels
each, and for batches of 8 x 8 and 16 x 16 maps. The variants take turns:

  ours      `losses.ssim`, which chooses a method for each axis
  products  both axes as products with banded matrices
  shifts    both axes as sums of shifted maps
  torch     `benchmarks/torch_ssim.py`

Writes `benchmarks/results/ssim.json`; `--sizes 200x304` measures other maps and
only prints the rows.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import flag_types, timing, torch_ssim
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
VARIANTS = {
  'ours': losses.window_means,
  'products': losses.window_means_by_products,
  'shifts': losses.window_means_by_shifts,
}


def measure(name: str, shape: tuple[int, ...], repeats: int) -> dict[str, Any]:
  """Returns a row: all variants on one pair of maps."""
  rng = np.random.default_rng(0)
  pair = rng.uniform(size=(2, *shape)).astype(np.float32)
  arrays = [jnp.asarray(maps) for maps in pair]
  tensors = [torch_ssim.to_tensor(maps) for maps in pair]
  calls: dict[str, timing.Call] = {
    variant: timing.compiled(
      jax.value_and_grad(functools.partial(_mean_loss, means)), *arrays
    )
    for variant, means in VARIANTS.items()
  }
  calls['torch'] = functools.partial(torch_ssim.value_and_gradient, *tensors)
  expected = calls['torch']()[0]
  for variant in VARIANTS:
    value = float(calls[variant]()[0])
    if not abs(value - expected) <= 1e-5:
      raise ValueError(
        f'The value of {variant} is {value}, that of PyTorch {expected}.'
      )
  seconds = timing.take_turns(calls, repeats=repeats)
  return {
    'level': name,
    'shape': list(shape),
    **_over_torch(seconds),
    'seconds': seconds,
  }


def _over_torch(
  seconds: Mapping[str, Mapping[str, float]],
) -> dict[str, float]:
  return {
    f'{variant}_over_torch': timing.ratio(seconds, variant, 'torch')
    for variant in VARIANTS
  }


def _mean_loss(means, student, teacher):
  return losses.ssim(student, teacher, means=means).mean()


def main() -> None:
  """Measures and writes."""
  parser = flag_types.make_parser(__doc__, repeats=15)
  parser.add_argument(
    '--sizes', nargs='+', help='HEIGHTxWIDTH of maps of one image'
  )
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
    variant: {'median': sum(r['seconds'][variant]['median'] for r in pyramid)}
    for variant in (*VARIANTS, 'torch')
  }
  rows.append({'level': 'P3 to P7', **_over_torch(total)})
  timing.record(flags.output / 'ssim.json', rows)


if __name__ == '__main__':
  main()
