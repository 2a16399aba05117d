"""Peak rates of the devices: matrix products and memory copies."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import chained
from kdjax.runtime.mesh import Devices

# Width of the matrices, length of the copied rows, and repetitions per call:
# large enough to fill each device and to make a dispatch's own cost negligible.
_SIZES = {'cpu': (2048, 2**14, 1)}
_LARGE = (8192, 2**15, 16)


@dataclasses.dataclass(frozen=True)
class Ceiling:
  """A call that reaches a peak rate.

  Attributes:
    call: Runs on all devices and waits.
    amount: Operations or bytes of the call, summed over the devices.
  """

  call: Callable[[], None]
  amount: float


def matmul(precision: str, devices: Devices) -> Ceiling:
  """Returns square matrix products, at the precision of convolutions."""
  width, _, repeats = _sizes()
  rows = width * devices.count
  keys = jax.random.split(jax.random.key(0))
  left = jax.random.normal(keys[0], (rows, width), jnp.dtype(precision))
  right = jax.random.normal(keys[1], (width, width), jnp.dtype(precision))
  right = devices.replicate(right * width**-0.5)  # powers of it stay finite
  return Ceiling(
    chained(lambda x: x @ right, devices.shard_batch(left, rows), repeats),
    2.0 * rows * width**2 * repeats,
  )


def copy(devices: Devices) -> Ceiling:
  """Returns a sequential read and write of float32 arrays."""
  width, length, repeats = _sizes()
  rows = width * devices.count
  numbers = devices.shard_batch(np.zeros((rows, length), np.float32), rows)
  return Ceiling(
    chained(lambda x: x + 1, numbers, repeats), 2.0 * numbers.nbytes * repeats
  )


def _sizes() -> tuple[int, int, int]:
  return _SIZES.get(jax.default_backend(), _LARGE)
