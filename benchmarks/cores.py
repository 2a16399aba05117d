"""Convolutions on one device of a CPU and on one device for each core.

  python -m benchmarks.cores

XLA gives some convolutions all cores and some only one. Writes
`benchmarks/results/cores.json`: operations per second either way, and how many
cores are busy.
"""

import functools
import time
from collections.abc import Callable
from typing import Any

import jax

from benchmarks import _record
from kdjax.layers.convolution import conv2d
from kdjax.runtime.cpu_devices import share_cores
from kdjax.runtime.mesh import Devices, all_devices, first_devices

BATCH, STEPS = 64, 4
# Channels and height of the 3 × 3 convolutions of CIFAR networks.
SHAPES = ((16, 32), (32, 16), (64, 8), (64, 32), (128, 16), (256, 8))


def main() -> None:
  """Measures and writes."""
  share_cores(BATCH)
  print(_record.record('cores', [_row(*shape) for shape in SHAPES]))


def _row(channels: int, height: int) -> dict[str, Any]:
  sides = {'one': first_devices(1), 'cores': all_devices()}
  calls = {k: _convolve(channels, height, d) for k, d in sides.items()}
  seconds = _record.side_by_side(calls, repeats=9)
  operations = 2 * 9 * BATCH * STEPS * (channels * height) ** 2
  return {
    'channels': channels,
    'height': height,
    'devices': sides['cores'].count,
    'cores_over_one': round(
      seconds['cores']['median'] / seconds['one']['median'], 3
    ),
    'gigaflop_per_second': {
      name: float(f'{operations / found["median"] / 1e9:.4g}')
      for name, found in seconds.items()
    },
    'busy_cores': {name: _busy(call) for name, call in calls.items()},
    'seconds': seconds,
  }


def _convolve(
  channels: int, height: int, devices: Devices
) -> Callable[[], None]:
  """Some convolutions in a loop, as in the loop over steps."""
  keys = jax.random.split(jax.random.key(0))
  shape = (BATCH, height, height, channels)
  images = devices.spread(jax.random.normal(keys[0], shape), BATCH)
  kernel = jax.random.normal(keys[1], (3, 3, channels, channels))
  kernel = devices.replicate(kernel / (9 * channels) ** 0.5)

  @jax.jit
  def repeated(x, kernel):
    step = functools.partial(conv2d, kernel=kernel, padding=1)
    return jax.lax.fori_loop(0, STEPS, lambda _, x: step(x), x)

  return lambda: jax.block_until_ready(repeated(images, kernel))


def _busy(call: Callable[[], None], times: int = 5) -> float:
  began, used = time.perf_counter(), time.process_time()
  for _ in range(times):
    call()
  spent = time.process_time() - used
  return round(spent / (time.perf_counter() - began), 2)


if __name__ == '__main__':
  main()
