"""Vision Transformers: ViT-Ti/16, ViT-S/16, ViT-B/16."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from kdjax import layers
from kdjax.features import Boundary
from kdjax.models.stack import Stack, StageOutput

_normal = nn.initializers.truncated_normal(0.02)


class VisionTransformer(Stack, kw_only=True):
  """Transformer on a class token and patches, with timm's layout.

  The stem computes the tokens; each later stage has the same number of blocks,
  and the last stage the final layer norm. Boundaries are all tokens
  `[B, 1 + h w, width]`; `stages` are the patch tokens as feature maps
  `[B, h, w, width]`; the embedding is the class token. Position embeddings are
  learned for the image size at initialization.

  Dosovitskiy et al., `An image is worth 16x16 words
  <https://arxiv.org/abs/2010.11929>`_, 2020. No dropout.

  Attributes:
    width: Width of a token.
    heads: Attention heads.
    depth: Number of blocks, a multiple of `parts`.
    parts: Number of stages after the stem.
    patch: Height and width of a patch in pixels.
  """

  boundary: Boundary = 'pre_norm'
  width: int
  heads: int
  depth: int = 12
  parts: int = 4
  patch: int = 16

  def make_stages(self):
    """Returns the stem and `parts` groups of blocks."""
    if self.depth % self.parts:
      raise ValueError(
        f'{self.depth} blocks cannot be divided into {self.parts} stages.'
      )
    count = self.depth // self.parts
    groups = [
      Blocks(
        range(part * count, (part + 1) * count),
        self.heads,
        last=part == self.parts - 1,
        dtype=self.dtype,
      )
      for part in range(self.parts)
    ]
    return [Patches(self.width, self.patch, dtype=self.dtype), *groups]

  def make_head(self):
    """Returns the classifier."""
    return layers.Dense(
      self.num_classes,
      kernel_init=_normal,
      bias_init=layers.zeros,
      dtype=self.dtype,
    )

  def embed(self, hidden: jax.Array) -> jax.Array:
    """Selects the class token: `[B, N, D]` to `[B, D]`."""
    return hidden[:, 0]


class Patches(nn.Module):
  """Images to tokens with position embeddings.

  Attributes:
    width: Width of a token.
    patch: Height and width of a patch in pixels.
    dtype: Dtype of the computation.
  """

  width: int
  patch: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> StageOutput:
    """Maps `[B, H, W, C]` to `[B, 1 + H W / patch², width]`."""
    del train
    if x.shape[1] % self.patch or x.shape[1] != x.shape[2]:
      raise ValueError(
        f'Patches of {self.patch} pixels need square images whose size is a '
        f'multiple of that, got {x.shape[1]} by {x.shape[2]}.'
      )
    x = layers.Conv(
      self.width,
      self.patch,
      self.patch,
      padding=0,
      use_bias=True,
      kernel_init=layers.torch_uniform,
      dtype=self.dtype,
      name='conv',
    )(x)
    x = x.reshape(x.shape[0], -1, self.width)
    shape = (1, 1, self.width)
    class_token = self.param('cls_token', _normal, shape, jnp.float32)
    shape = (1, x.shape[1] + 1, self.width)
    positions = self.param('pos_embed', _normal, shape, jnp.float32)
    class_token = jnp.broadcast_to(class_token, (x.shape[0], 1, self.width))
    x = jnp.concatenate([class_token.astype(self.dtype), x], axis=1)
    return _output(x + positions.astype(self.dtype))


class Blocks(nn.Module):
  """Consecutive blocks of the network.

  Attributes:
    numbers: Numbers of the blocks, counted through the network.
    heads: Attention heads.
    last: Whether the final layer norm follows.
    dtype: Dtype of the computation.
  """

  numbers: range
  heads: int
  last: bool
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> StageOutput:
    """Maps tokens `[B, N, D]` to the same shape."""
    del train
    for number in self.numbers:
      x = Block(self.heads, self.dtype, name=f'block_{number}')(x)
    if self.last:
      x = _norm(self.dtype, 'norm')(x)
    return _output(x)


class Block(nn.Module):
  """Attention and two linear layers with GELU, with shortcuts and layer norms.

  Attributes:
    heads: Attention heads.
    dtype: Dtype of the computation.
  """

  heads: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps tokens `[B, N, D]` to the same shape."""
    width = x.shape[-1]
    y = _linear(3 * width, self.dtype, 'qkv')(_norm(self.dtype, 'norm1')(x))
    y = _linear(width, self.dtype, 'proj')(attention(y, self.heads))
    x = x + y
    y = _linear(4 * width, self.dtype, 'fc1')(_norm(self.dtype, 'norm2')(x))
    y = jax.nn.gelu(y, approximate=False)
    return x + _linear(width, self.dtype, 'fc2')(y)


def attention(qkv: jax.Array, heads: int) -> jax.Array:
  r"""Computes :math:`\mathrm{softmax}(q k^T / \sqrt{d})\, v` of each head.

  The softmax is computed in float32 (float64 for float64 inputs).

  Args:
    qkv: Queries, keys and values, concatenated: `[B, N, 3 heads d]`.
    heads: Number of heads.

  Returns:
    `[B, N, heads d]`.
  """
  batch, tokens, width = qkv.shape
  parts = qkv.reshape(batch, tokens, 3, heads, width // (3 * heads))
  q, k, v = (parts[:, :, index] for index in range(3))
  wide = jnp.promote_types(qkv.dtype, jnp.float32)
  scores = jnp.einsum('bnhd,bmhd->bhnm', q, k, preferred_element_type=wide)
  weights = jax.nn.softmax(scores * q.shape[-1] ** -0.5).astype(qkv.dtype)
  out = jnp.einsum('bhnm,bmhd->bnhd', weights, v)
  return out.reshape(batch, tokens, width // 3)


def _output(tokens: jax.Array) -> StageOutput:
  """Tokens as the boundary, and the patch tokens as a square feature map."""
  batch, count, width = tokens.shape
  side = round((count - 1) ** 0.5)
  square = tokens[:, 1:].reshape(batch, side, side, width)
  return StageOutput(tokens, square, square)


def _norm(dtype: DTypeLike, name: str) -> nn.LayerNorm:
  return nn.LayerNorm(
    epsilon=1e-6, use_fast_variance=False, dtype=dtype, name=name
  )


def _linear(features: int, dtype: DTypeLike, name: str) -> layers.Dense:
  return layers.Dense(
    features,
    kernel_init=_normal,
    bias_init=layers.zeros,
    dtype=dtype,
    name=name,
  )
