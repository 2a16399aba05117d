"""Arrays by a formula of their name: weights and images that are not stored.

Only integers and one product: any library on any machine gives the same bits,
so that a golden file holds the results alone.
"""

import math
import zlib

import numpy as np


def uniform(name: str, shape: tuple[int, ...]) -> np.ndarray:
  """Returns float64 numbers in [-1, 1), multiples of 2^-23.

  Entry i, counted in row-major order, is MurmurHash3's finalizer of i plus the
  CRC of the name, a 32-bit integer, of which 24 bits are kept.

  Args:
    name: Any text; another name gives other numbers.
    shape: Shape of the result.
  """
  value = np.arange(math.prod(shape), dtype=np.uint32)
  value += np.uint32(zlib.crc32(name.encode()))
  for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
    value ^= value >> np.uint32(shift)
    value *= np.uint32(factor)
  return (value >> np.uint32(8)).reshape(shape) / 2.0**23 - 1.0


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
  """Returns one array of a network by its name in PyTorch, as float32.

  Kernels and matrices keep the variance of activations roughly, running
  statistics are far from a fresh network's, and norms amplify, so that a ReLU6
  is reached.

  Args:
    name: A key of the network's state dict.
    shape: Its shape in PyTorch.
  """
  value = uniform(name, shape)
  if name.endswith('running_var'):
    value = 0.6 + 0.3 * value
  elif len(shape) == 4:
    value = math.sqrt(6 / math.prod(shape[1:])) * value
  elif len(shape) == 2:
    value = math.sqrt(3 / shape[1]) * value
  elif len(shape) == 1 and name.endswith('weight'):
    value = 1 + 0.5 * value
  else:
    value = 0.3 * value
  return value.astype(np.float32)


def images(count: int, size: int) -> np.ndarray:
  """Returns normalized images `[count, 3, size, size]`, as float32."""
  shape = (count, 3, size, size)
  return (math.sqrt(3) * uniform('images', shape)).astype(np.float32)


def photograph(width: int, height: int) -> np.ndarray:
  """Returns an image of any size, uint8 `[height, width, 3]`.

  Slow waves with noise: each pixel matters after resizing, and so does where it
  was.

  Args:
    width: Number of columns.
    height: Number of rows.
  """
  rows, columns = np.indices((height, width))
  waves = np.stack(
    [(rows * (3 + c) + columns * (7 - 2 * c)) % 160 for c in range(3)], axis=-1
  )
  noise = uniform('photograph', (height, width, 3))
  return (waves + 40 + np.floor(40 * noise)).astype(np.uint8)


def summary(value: np.ndarray, name: str) -> np.ndarray:
  """Returns mean, root mean square and a projection of an array.

  The projection is the scalar product with `uniform(name)` over the root of the
  number of entries, so that it is of the size of the root mean square.

  Args:
    value: Any array.
    name: Name of the direction.

  Returns:
    Float64 `[3]`.
  """
  value = np.asarray(value, np.float64)
  direction = uniform(name, value.shape)
  projection = np.vdot(value, direction) / math.sqrt(value.size)
  return np.array([value.mean(), np.sqrt(np.mean(value**2)), projection])
