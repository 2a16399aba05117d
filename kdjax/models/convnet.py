"""Small convolutional networks for small images, such as 8×8 digits."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from kdjax import layers
from kdjax.models.stack import Stack, StageOutput


class ConvNet(Stack, kw_only=True):
  """Stages of convolution, batch norm and ReLU; all but the first halve.

  Attributes:
    widths: Channels of the 3×3 convolutions of each stage.
  """

  widths: tuple[tuple[int, ...], ...]

  def make_stages(self):
    """Returns one stage per entry of `widths`."""
    return [
      Stage(widths, strides=1 if index == 0 else 2, dtype=self.dtype)
      for index, widths in enumerate(self.widths)
    ]


class Stage(nn.Module):
  """Convolutions with batch norm and ReLU.

  Attributes:
    widths: Output channels of each convolution.
    strides: Stride of the first convolution.
    dtype: Dtype of the computation.
  """

  widths: tuple[int, ...]
  strides: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> StageOutput:
    """Maps the feature maps of the previous stage to those of this one."""
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
