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
  """A convolution, a norm and, for rectified features, a leaky ReLU.

  Maps of one size: 3×3 without a bias. A source twice as large: 3×3 with
  stride 2; half as large: transposed 4×4 with stride 2; both with a bias. After
  FCFD (`Liu et al. <https://openreview.net/forum?id=pgHNOcxEdRI>`_, 2023).

  Attributes:
    width: Channels of the destination.
    resize: From the source to the destination.
    rectified: Whether the destination's stages take rectified features.
  """

  width: int
  resize: Resize
  rectified: bool

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """`[B, H, W, C]` to `[B, H', W', width]`."""
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
  """Between tokens and maps, or tokens and tokens.

  Tokens of patches lie on a square grid, which is brought to the other side's
  size by a whole factor: by means where it shrinks, by repetition where it
  grows. Then the same translation as `Bridge`'s of one size. Where the
  destination has a class token, it is a linear map of the source's mean over
  all places.

  Attributes:
    destination: Shape of one image's features there.
    rectified: Whether the destination's stages take rectified features.
  """

  destination: tuple[int, ...]
  rectified: bool

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """Features `[B, …]` of the source to `[B, *destination]`."""
    grid = _as_map(x)
    height, width, channels = map_shape(self.destination)
    bridge = Bridge(channels, 'same', self.rectified, name='map')
    y = bridge(_resampled(grid, height, width), train=train)
    if len(self.destination) == 3:
      return y
    tokens = y.reshape(y.shape[0], -1, channels)
    if self.destination[0] == tokens.shape[1]:
      return tokens
    first = layers.Dense(channels, dtype=x.dtype, name='class_token')(
      layers.global_mean(grid)
    )
    return jnp.concatenate([first[:, None], tokens], axis=1)


class Side(NamedTuple):
  """One network's features at one stage, without the batch."""

  name: str
  shape: tuple[int, ...]
  boundary: Boundary


def make_bridge(stage: int, source: Side, destination: Side) -> nn.Module:
  """The bridge between two networks' features at a stage.

  Raises:
    ValueError: With the stage and both shapes, if there is none.
  """
  rectified = destination.boundary == 'post_relu'
  shapes = source.shape, destination.shape
  if all(len(shape) == 3 for shape in shapes):
    resize = _resize(*shapes)
    if resize is not None:
      return Bridge(destination.shape[-1], resize, rectified)
    needed = 'maps of the same, half or twice the height and width'
  else:
    if _resamples(*shapes):
      return TokenBridge(destination.shape, rectified)
    needed = 'square grids of tokens and maps whose sizes divide each other'
  raise ValueError(
    f'No bridge leads from {source.name} to {destination.name} at stage '
    f'{stage}: {source.shape} to {destination.shape}, and there are bridges '
    f'between {needed}. Take another pair, or images of another size.'
  )


def map_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
  """Height, width and channels of a map, or of the grid behind tokens.

  Tokens are `[n, width]` with `n` a square, or a square and a class token.
  """
  if len(shape) == 3:
    return shape[0], shape[1], shape[2]
  side = math.isqrt(shape[0])
  return side, side, shape[1]


def _resize(source, destination) -> Resize | None:
  pairs = list(zip(source[:2], destination[:2]))
  if all(a == b for a, b in pairs):
    return 'same'
  if all(a == 2 * b for a, b in pairs):
    return 'half'
  return 'double' if all(2 * a == b for a, b in pairs) else None


def _resamples(*shapes: tuple[int, ...]) -> bool:
  """Whether both are maps or tokens and one grid divides the other."""
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
  """Maps as they are; tokens as maps, without the class token."""
  if x.ndim == 4:
    return x
  height, width, channels = map_shape(x.shape[1:])
  patches = x[:, x.shape[1] - height * width :]
  return patches.reshape(-1, height, width, channels)


def _resampled(x: jax.Array, height: int, width: int) -> jax.Array:
  batch, rows, columns, channels = x.shape
  if rows >= height:
    x = x.reshape(
      batch, height, rows // height, width, columns // width, channels
    )
    return layers.mean_in_float32(x, (2, 4))
  x = jnp.repeat(x, height // rows, axis=1)
  return jnp.repeat(x, width // columns, axis=2)
