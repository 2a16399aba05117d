"""The tree that every network hands to every loss, and what is known of it."""

import dataclasses
from typing import Any, Literal

import jax
from flax import struct

from kdjax.typing import PyTree

Boundary = Literal['post_relu', 'pre_relu', 'pre_norm']
MaybeArray = Any  # an array, or `None` for a stage that did not run


@struct.dataclass
class Features:
  """What one pass of a network leaves behind; images are `[B, H, W, C]`.

  Nothing here costs anything unless it is read: under `jit` XLA drops the rest.
  A pass that began in the middle of a network (`tail`) has `None` for the
  stages that did not run.

  Attributes:
    stages: The output of each stage as the field's tables list it, the stem
      first: after the activation where the network has one there.
    pre_stages: The same before that activation. Where a network has no such
      thing the entry is the one in `stages`.
    boundaries: What one stage hands to the next; `boundaries[i]` is what `tail`
      takes at `start=i + 1`. The network's `boundary` says what kind it is.
    embedding: The classifier's input, `[B, D]`.
    logits: Unnormalised log-probabilities, `[B, K]`.
  """

  stages: tuple[MaybeArray, ...]
  pre_stages: tuple[MaybeArray, ...]
  boundaries: tuple[MaybeArray, ...]
  embedding: jax.Array
  logits: jax.Array


@struct.dataclass
class LinearClassifier:
  """What turns an embedding into logits: `embedding @ kernel + bias`.

  Attributes:
    kernel: `[D, K]`.
    bias: `[K]`.
  """

  kernel: jax.Array
  bias: jax.Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkSpec:
  """What a method may know of a network before anything runs.

  Attributes:
    name: The network's name, for messages.
    boundary: Its kind of boundary.
    features: `Features` of `jax.ShapeDtypeStruct`s, for `batch_size` images.
    variables: The shapes of its variables.
    has_tail: Whether it can be entered in the middle.
    has_head: Whether it can classify an embedding.
    classifier: Shapes of its linear classifier; `None` if it has none, or does
      not say where it is.
  """

  name: str
  boundary: Boundary
  features: Features
  variables: PyTree
  has_tail: bool = True
  has_head: bool = True
  classifier: LinearClassifier | None = None
