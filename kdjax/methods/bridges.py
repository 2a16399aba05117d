"""Trained translations of one network's features into another's space."""

import math
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from kdjax import layers
from kdjax.features import Boundary

Resize = Literal['same', 'half', 'double']


class Bridge(nn.Module):
  """Convolution, norm and, for rectified features, leaky ReLU.

  The convolution is 3×3 without a bias between feature maps of equal size, 3×3
  with stride 2 and a bias to half the size, and a transposed 4×4 with stride 2
  and a bias to twice the size. As in FCFD (`Liu et al.
  <https://openreview.net/forum?id=pgHNOcxEdRI>`_, 2023).

  Attributes:
    width: Number of channels of the destination.
    resize: Size of the destination relative to the source.
    rectified: Whether the stages of the destination expect rectified features.
  """

  width: int
  resize: Resize
  rectified: bool

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """Translates `[B, H, W, C]` to `[B, H', W', width]`."""
    if self.resize == 'double':
      convolve = layers.ConvTranspose(
        self.width, 4, 2, 1, dtype=x.dtype, name='conv'
      )
    else:
      halves = self.resize == 'half'
      convolve = layers.Conv(
        self.width,
        3,
        2 if halves else 1,
        use_bias=halves,
        dtype=x.dtype,
        name='conv',
      )
    x = layers.BatchNorm(dtype=x.dtype, name='norm')(convolve(x), train=train)
    return nn.leaky_relu(x, 0.1) if self.rectified else x


class TokenBridge(nn.Module):
  """Bridge between tokens and feature maps, or between tokens.

  Tokens of patches form a square grid, which is resized to the destination's
  grid by a whole factor: by means if it shrinks, by repetition if it grows. A
  `Bridge` between equal sizes follows. A class token of the destination is a
  linear map of the mean of the source over all positions.

  Attributes:
    destination: Shape of the features of one image at the destination.
    rectified: Whether the stages of the destination expect rectified features.
  """

  destination: tuple[int, ...]
  rectified: bool

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """Translates features `[B, …]` to `[B, *destination]`."""
    grid = _as_map(x)
    height, width, channels = map_shape(self.destination)
    bridge = Bridge(channels, 'same', self.rectified, name='map')
    y = bridge(_resample(grid, height, width), train=train)
    if len(self.destination) == 3:
      return y
    tokens = y.reshape(y.shape[0], -1, channels)
    if self.destination[0] == tokens.shape[1]:
      return tokens
    class_token = layers.Dense(channels, dtype=x.dtype, name='class_token')(
      layers.global_mean(grid)
    )
    return jnp.concatenate([class_token[:, None], tokens], axis=1)


class Side(NamedTuple):
  """Features of one network at one stage.

  Attributes:
    name: Name of the network, for messages.
    shape: Shape of the features of one image.
    boundary: The network's kind of boundary.
  """

  name: str
  shape: tuple[int, ...]
  boundary: Boundary


def make_bridge(
  stage: int, source: Side, destination: Side
) -> Bridge | TokenBridge:
  """Returns the bridge between two networks' features at a stage.

  Args:
    stage: Index of the stage, for messages.
    source: The features that are translated.
    destination: The features that the translation resembles.

  Raises:
    ValueError: If there is no bridge between such shapes.
  """
  rectified = destination.boundary == 'post_relu'
  shapes = source.shape, destination.shape
  if all(len(shape) == 3 for shape in shapes):
    resize = _resize(*shapes)
    if resize is not None:
      return Bridge(destination.shape[-1], resize, rectified)
    needed = 'feature maps of the same, half or twice the height and width'
  else:
    if _can_resample(*shapes):
      return TokenBridge(destination.shape, rectified)
    needed = (
      'square grids of tokens and feature maps whose sizes divide each other'
    )
  raise ValueError(
    f'No bridge leads from {source.name} to {destination.name} at stage '
    f'{stage}: {source.shape} to {destination.shape}, and there are bridges '
    f'between {needed}. Choose another pair, or images of another size.'
  )


def map_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
  """Returns height, width and channels of a feature map or a grid of tokens.

  Args:
    shape: `[H, W, C]`, or tokens `[n, width]` with `n` a square number, or one
      more for a class token.
  """
  if len(shape) == 3:
    return shape[0], shape[1], shape[2]
  side = math.isqrt(shape[0])
  return side, side, shape[1]


def _resize(
  source: tuple[int, ...], destination: tuple[int, ...]
) -> Resize | None:
  """Returns the relative size of two feature maps, `None` for any other."""
  pairs = list(zip(source[:2], destination[:2]))
  if all(a == b for a, b in pairs):
    return 'same'
  if all(a == 2 * b for a, b in pairs):
    return 'half'
  return 'double' if all(2 * a == b for a, b in pairs) else None


def _can_resample(*shapes: tuple[int, ...]) -> bool:
  """Returns whether both are maps or tokens and one grid divides the other."""
  for shape in shapes:
    if len(shape) not in (2, 3):
      return False
    if len(shape) == 2 and shape[0] - math.isqrt(shape[0]) ** 2 not in (0, 1):
      return False
  source, destination = (map_shape(shape)[:2] for shape in shapes)
  return all(a % b == 0 for a, b in zip(source, destination)) or all(
    b % a == 0 for a, b in zip(source, destination)
  )


def _as_map(x: jax.Array) -> jax.Array:
  """Returns tokens as feature maps, without the class token."""
  if x.ndim == 4:
    return x
  height, width, channels = map_shape(x.shape[1:])
  patches = x[:, x.shape[1] - height * width :]
  return patches.reshape(-1, height, width, channels)


def _resample(x: jax.Array, height: int, width: int) -> jax.Array:
  """Resizes feature maps by a whole factor."""
  batch, rows, columns, channels = x.shape
  if rows >= height:
    x = x.reshape(
      batch, height, rows // height, width, columns // width, channels
    )
    return layers.mean_in_float32(x, (2, 4))
  x = jnp.repeat(x, height // rows, axis=1)
  return jnp.repeat(x, width // columns, axis=2)
