"""What the devices do at best: matrix products, and moving numbers."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from kdjax.runtime.mesh import Devices

# Width of the matrices, rows of so many numbers that are copied, and how often
# in a row: large enough to fill each device, and for a dispatch to cost nothing
# beside them.
_SIZES = {'cpu': (2048, 2**14, 1)}
_LARGE = (8192, 2**15, 16)


@dataclasses.dataclass(frozen=True)
class Ceiling:
  """A call, and what all devices do in it: operations or bytes."""

  call: Callable[[], None]
  amount: float


def matmul(precision: str, devices: Devices) -> Ceiling:
  """Square matrix products, at the precision that convolutions have."""
  width, _, repeats = _sizes()
  rows = width * devices.count
  keys = jax.random.split(jax.random.key(0))
  left = jax.random.normal(keys[0], (rows, width), jnp.dtype(precision))
  right = jax.random.normal(keys[1], (width, width), jnp.dtype(precision))
  right = devices.replicate(right * width**-0.5)  # powers of it stay finite
  return Ceiling(
    _repeated(lambda x: x @ right, devices.spread(left, rows), repeats),
    2.0 * rows * width**2 * repeats,
  )


def copy(devices: Devices) -> Ceiling:
  """Reads and writes float32 in order."""
  width, length, repeats = _sizes()
  rows = width * devices.count
  numbers = devices.spread(jnp.zeros((rows, length), jnp.float32), rows)
  return Ceiling(
    _repeated(lambda x: x + 1, numbers, repeats), 2.0 * numbers.nbytes * repeats
  )


def _repeated(function, first: jax.Array, repeats: int) -> Callable[[], None]:
  """Calls the compiled function on what it gave, and waits once."""
  compiled = jax.jit(function)

  def call() -> None:
    x = first
    for _ in range(repeats):
      x = compiled(x)
    jax.block_until_ready(x)

  return call


def _sizes() -> tuple[int, int, int]:
  return _SIZES.get(jax.default_backend(), _LARGE)
