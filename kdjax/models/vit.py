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
  """Patches as tokens, a class token first; the layout is timm's.

  The stem makes tokens, each later stage is a quarter of the blocks, and the
  final norm belongs to the last. Boundaries are all tokens
  `[B, 1 + h w, width]`; `stages` are those of the patches as maps
  `[B, h, w, width]`; the embedding is the class token's. Places are learned for
  the size of image it is initialised with.

  Dosovitskiy et al., `An image is worth 16x16 words
  <https://arxiv.org/abs/2010.11929>`_, 2020. No dropout.

  Attributes:
    width: Of a token.
    heads: Of the attention.
    depth: Blocks, a multiple of `parts`.
    parts: Stages after the stem.
    patch: Height and width of a patch in pixels.
  """

  boundary: Boundary = 'pre_norm'
  width: int
  heads: int
  depth: int = 12
  parts: int = 4
  patch: int = 16

  def make_stages(self):
    """The stem and `parts` groups of blocks."""
    if self.depth % self.parts:
      raise ValueError(
        f'{self.depth} blocks do not fall into {self.parts} equal stages.'
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
    """The classifier."""
    return layers.Dense(
      self.num_classes,
      kernel_init=_normal,
      bias_init=layers.zeros,
      dtype=self.dtype,
    )

  def embed(self, hidden: jax.Array) -> jax.Array:
    """The class token of the normalised tokens."""
    return hidden[:, 0]


class Patches(nn.Module):
  """Images to tokens with their places."""

  width: int
  patch: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> StageOutput:
    """`[B, H, W, C]` to `[B, 1 + H W / patch², width]`."""
    del train
    if x.shape[1] % self.patch or x.shape[1] != x.shape[2]:
      raise ValueError(
        f'Patches of {self.patch} pixels need square images of a multiple of '
        f'that, got {x.shape[1]} by {x.shape[2]}.'
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
    first = self.param('cls_token', _normal, (1, 1, self.width), jnp.float32)
    shape = (1, x.shape[1] + 1, self.width)
    places = self.param('pos_embed', _normal, shape, jnp.float32)
    first = jnp.broadcast_to(first, (x.shape[0], 1, self.width))
    x = jnp.concatenate([first.astype(self.dtype), x], axis=1)
    return _output(x + places.astype(self.dtype))


class Blocks(nn.Module):
  """Some of the blocks; after the last of all stands the final norm."""

  numbers: range
  heads: int
  last: bool
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> StageOutput:
    """Tokens to tokens."""
    del train
    for number in self.numbers:
      x = Block(self.heads, self.dtype, name=f'block_{number}')(x)
    if self.last:
      x = _norm(self.dtype, 'norm')(x)
    return _output(x)


class Block(nn.Module):
  """Attention, then two linear layers with GELU; each beside its input."""

  heads: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """`[B, N, D]` to the same."""
    width = x.shape[-1]
    y = _linear(3 * width, self.dtype, 'qkv')(_norm(self.dtype, 'norm1')(x))
    y = _linear(width, self.dtype, 'proj')(attention(y, self.heads))
    x = x + y
    y = _linear(4 * width, self.dtype, 'fc1')(_norm(self.dtype, 'norm2')(x))
    y = jax.nn.gelu(y, approximate=False)
    return x + _linear(width, self.dtype, 'fc2')(y)


def attention(qkv: jax.Array, heads: int) -> jax.Array:
  r""":math:`\mathrm{softmax}(q k^T / \sqrt{d})\, v` of each head.

  Args:
    qkv: Queries, keys and values side by side, `[B, N, 3 heads d]`.
    heads: Their number.

  Returns:
    `[B, N, heads d]`; the softmax runs in at least float32.
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
  """Tokens as a boundary, and those of the patches as a square map."""
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
