"""What the device does at best: matrix products, and moving numbers."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

# Width of the matrices, numbers copied, and how often in a row: large enough
# to fill the device, and for a dispatch to cost nothing beside them.
_SIZES = {'cpu': (2048, 2**25, 1)}
_LARGE = (8192, 2**28, 16)


@dataclasses.dataclass(frozen=True)
class Ceiling:
  """A call, and how much of its kind it does: operations or bytes."""

  call: Callable[[], None]
  amount: float


def matmul(precision: str) -> Ceiling:
  """Square matrix products, at the precision that convolutions have."""
  width, _, repeats = _sizes()
  keys = jax.random.split(jax.random.key(0))
  left, right = (
    jax.random.normal(key, (width, width), jnp.dtype(precision)) for key in keys
  )
  right = right * width**-0.5  # so that powers of it stay finite
  return Ceiling(
    _repeated(lambda x: x @ right, left, repeats), 2.0 * width**3 * repeats
  )


def copy() -> Ceiling:
  """Reads and writes float32 in order."""
  _, count, repeats = _sizes()
  numbers = jnp.zeros(count, jnp.float32)
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
