"""VGG with batch norm for small images: vgg8, vgg11, vgg13, vgg16, vgg19."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from kdjax import layers
from kdjax.features import Boundary
from kdjax.layers import windows
from kdjax.models.stack import Stack, StageOutput


class Vgg(Stack, kw_only=True):
  """Five stages of 3×3 convolutions with bias, norm and ReLU.

  A stage ends on its last norm; its ReLU and the pooling open the next. The
  last stage pools only what is at least 8 pixels high, images of 64 and more.

  Simonyan and Zisserman, `Very deep convolutional networks
  <https://arxiv.org/abs/1409.1556>`_, 2014, with one linear layer.

  Attributes:
    convs: Convolutions of each of the five stages.
    widths: Their channels.
  """

  boundary: Boundary = 'pre_relu'
  convs: tuple[int, ...]
  widths: tuple[int, ...] = (64, 128, 256, 512, 512)

  def make_stages(self):
    """The five stages."""
    return [
      Stage(count, width, place, dtype=self.dtype)
      for place, (count, width) in enumerate(zip(self.convs, self.widths))
    ]

  def make_head(self):
    """The classifier."""
    return layers.Dense(
      self.num_classes,
      kernel_init=nn.initializers.normal(0.01),
      bias_init=layers.zeros,
      dtype=self.dtype,
    )


class Stage(nn.Module):
  """Stage number `place`: ReLU and pooling, then the convolutions."""

  count: int
  width: int
  place: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> StageOutput:
    """Features of the stage before to this stage's."""
    if self.place > 0:
      x = nn.relu(x)
      if self.place < 4 or x.shape[1] >= 8:
        x = windows.max_pool(x, 2, 2)
    pre = x
    for index in range(self.count):
      pre = layers.Conv(
        self.width,
        use_bias=True,
        bias_init=layers.zeros,
        dtype=self.dtype,
        name=f'conv_{index}',
      )(nn.relu(pre) if index else pre)
      pre = layers.BatchNorm(dtype=self.dtype, name=f'norm_{index}')(
        pre, train=train
      )
    out = nn.relu(pre)
    # The field's tables list the first stage rectified in both lists.
    return StageOutput(pre, out, pre if self.place > 0 else out)
