"""Convolutions on one CPU device and on one device for each core.

  python -m benchmarks.cores

XLA runs some convolutions on all cores and some on only one. Writes
`benchmarks/results/cores.json`: operations per second in both cases, and the
number of busy cores.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks import flag_types, timing
from kdjax.layers.convolution import conv2d
from kdjax.runtime.cpu_devices import share_cores
from kdjax.runtime.mesh import Devices, all_devices, first_devices

BATCH, STEPS = 64, 4
# Channels and height of the 3 × 3 convolutions of CIFAR networks.
SHAPES = ((16, 32), (32, 16), (64, 8), (64, 32), (128, 16), (256, 8))


def main() -> None:
  """Measures and writes."""
  parser = flag_types.make_parser(__doc__, repeats=9)
  parser.add_argument('--shapes', type=int, default=len(SHAPES))
  flags = parser.parse_args()
  share_cores(BATCH)
  rows = [_row(*shape, flags.repeats) for shape in SHAPES[: flags.shapes]]
  timing.record(flags.output / 'cores.json', rows)


def _row(channels: int, height: int, repeats: int) -> dict[str, Any]:
  variants = {'one': first_devices(1), 'cores': all_devices()}
  calls = {k: _convolve(channels, height, d) for k, d in variants.items()}
  seconds = timing.take_turns(calls, repeats=repeats)
  operations = 2 * 9 * BATCH * STEPS * (channels * height) ** 2
  return {
    'channels': channels,
    'height': height,
    'devices': variants['cores'].count,
    'cores_over_one': timing.ratio(seconds, 'cores', 'one'),
    'gigaflop_per_second': {
      name: timing.digits(operations / times['median'] / 1e9, 4)
      for name, times in seconds.items()
    },
    'busy_cores': {name: _busy_cores(call) for name, call in calls.items()},
    'seconds': seconds,
  }


def _convolve(
  channels: int, height: int, devices: Devices
) -> Callable[[], None]:
  """Returns a call of several convolutions in a compiled loop."""
  keys = jax.random.split(jax.random.key(0))
  shape = (BATCH, height, height, channels)
  images = np.asarray(jax.random.normal(keys[0], shape))
  images = devices.shard_batch(images, BATCH)
  kernel = jax.random.normal(keys[1], (3, 3, channels, channels))
  kernel = devices.replicate(kernel / (9 * channels) ** 0.5)

  def repeated(x, kernel):
    step = functools.partial(conv2d, kernel=kernel, padding=1)
    return jax.lax.fori_loop(0, STEPS, lambda _, x: step(x), x)

  return timing.compiled(repeated, images, kernel)


def _busy_cores(call: Callable[[], None], repeats: int = 5) -> float:
  """Returns the processor time of a call divided by its wall time."""
  processor, seconds = timing.processor_seconds(), 0.0
  for _ in range(repeats):
    seconds += timing.timed(call)[1]
  return round((timing.processor_seconds() - processor) / seconds, 2)


if __name__ == '__main__':
  main()
