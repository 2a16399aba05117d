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
  """Five stages of 3×3 convolutions with bias, batch norm and ReLU.

  A stage ends with its last batch norm; its ReLU and max pooling start the next
  stage. The last stage pools only maps of at least 8 pixels, from images of 64
  pixels or more.

  Simonyan and Zisserman, `Very deep convolutional networks
  <https://arxiv.org/abs/1409.1556>`_, 2014, with one linear layer.

  Attributes:
    convs: Number of convolutions of each of the five stages.
    widths: Output channels of each stage.
  """

  boundary: Boundary = 'pre_relu'
  convs: tuple[int, ...]
  widths: tuple[int, ...] = (64, 128, 256, 512, 512)

  def make_stages(self):
    """Returns the five stages."""
    return [
      Stage(count, width, index, dtype=self.dtype)
      for index, (count, width) in enumerate(zip(self.convs, self.widths))
    ]

  def make_head(self):
    """Returns the classifier."""
    return layers.Dense(
      self.num_classes,
      kernel_init=nn.initializers.normal(0.01),
      bias_init=layers.zeros,
      dtype=self.dtype,
    )


class Stage(nn.Module):
  """ReLU and max pooling, then convolutions.

  Attributes:
    count: Number of convolutions.
    width: Output channels.
    index: Index of the stage; stage 0 has neither ReLU nor pooling.
    dtype: Dtype of the computation.
  """

  count: int
  width: int
  index: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> StageOutput:
    """Maps the feature maps of the previous stage to those of this one."""
    if self.index > 0:
      x = nn.relu(x)
      if self.index < 4 or x.shape[1] >= 8:
        x = windows.max_pool(x, 2, 2)
    pre = x
    for number in range(self.count):
      pre = layers.Conv(
        self.width,
        use_bias=True,
        bias_init=layers.zeros,
        dtype=self.dtype,
        name=f'conv_{number}',
      )(nn.relu(pre) if number else pre)
      pre = layers.BatchNorm(dtype=self.dtype, name=f'norm_{number}')(
        pre, train=train
      )
    out = nn.relu(pre)
    # The papers' tables list the first stage after its ReLU in both lists.
    return StageOutput(pre, out, pre if self.index > 0 else out)
