"""Small plain networks for small images, such as 8×8 digits."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from kdjax import layers
from kdjax.models.stack import Stack, StageOutput


class ConvNet(Stack, kw_only=True):
  """Convolution, norm, ReLU, repeated; each stage after the first halves.

  Attributes:
    widths: Channels of the 3×3 convolutions of each stage.
  """

  widths: tuple[tuple[int, ...], ...]

  def make_stages(self):
    """One stage per entry of `widths`."""
    return [
      Stage(widths, strides=1 if index == 0 else 2, dtype=self.dtype)
      for index, widths in enumerate(self.widths)
    ]


class Stage(nn.Module):
  """Convolutions of the given widths; the first one has the stride."""

  widths: tuple[int, ...]
  strides: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> StageOutput:
    """Features of the stage before to this stage's."""
    pre = x
    for index, width in enumerate(self.widths):
      x = layers.Conv(
        width,
        strides=self.strides if index == 0 else 1,
        dtype=self.dtype,
        name=f'conv_{index}',
      )(x)
      pre = layers.BatchNorm(dtype=self.dtype, name=f'norm_{index}')(
        x, train=train
      )
      x = nn.relu(pre)
    return StageOutput(x, x, pre)
