"""A network as the rest of the library sees it: functions and two facts."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from kdjax.features import Boundary, Features, LinearClassifier, NetworkSpec
from kdjax.typing import PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network:
  """A teacher or a student, whatever library it was written in.

  `variables` is `{'params': …, 'batch_stats': …}`; a network without running
  statistics leaves the second empty. Images arrive as float32 in [0, 1] and are
  normalised here, so that a teacher trained with other constants than the
  student's sees what it was trained on.

  Attributes:
    name: As the tables print it.
    init: `(key, images) -> variables`.
    forward: `(variables, images, train) -> (Features, batch_stats)`. In
      training mode it normalises with the batch and returns the running
      statistics moved by it; otherwise it returns them as they came.
    forward_tail: `(variables, hidden, start, train) -> (Features,
      batch_stats)`: the stages from `start` on. `None` for a network that
      cannot be cut.
    forward_head: `(variables, embedding) -> logits`: the classifier alone.
      `None` for a network that does not say which part of it that is.
    read_classifier: `variables -> LinearClassifier`, if the classifier is
      linear.
    write_classifier: `(variables, LinearClassifier) -> variables` with that
      one in the place of its own; what is not of the classifier is handed on
      as it is.
    boundary: What stands between two stages; see `Features.boundaries`.
    mean: Per-channel mean of the images in [0, 1] that are subtracted.
    std: Per-channel divisor after that.
    pretrained: Freshly drawn variables to those that training starts from:
      weights learnt on another set, beside a classifier that stays as drawn.
    fold: `(variables, images) -> variables` that give the same in evaluation
      mode with less work, given the shape of some images; `None` where there
      are none. See `kdjax.models.folding`.
  """

  name: str
  init: Callable[[jax.Array, jax.Array], PyTree]
  forward: Callable[[PyTree, jax.Array, bool], tuple[Features, PyTree]]
  forward_tail: (
    Callable[[PyTree, jax.Array, int, bool], tuple[Features, PyTree]] | None
  ) = None
  forward_head: Callable[[PyTree, jax.Array], jax.Array] | None = None
  read_classifier: Callable[[PyTree], LinearClassifier] | None = None
  write_classifier: Callable[[PyTree, LinearClassifier], PyTree] | None = None
  boundary: Boundary = 'post_relu'
  mean: tuple[float, ...] = (0.0,)
  std: tuple[float, ...] = (1.0,)
  pretrained: Callable[[PyTree], PyTree] | None = None
  fold: Callable[[PyTree, jax.ShapeDtypeStruct], PyTree] | None = None

  def normalize(self, images: jax.Array) -> jax.Array:
    """Float32 images in [0, 1] to what the network was trained on."""
    mean = jnp.asarray(self.mean, images.dtype)
    return (images - mean) / jnp.asarray(self.std, images.dtype)

  def apply(
    self, variables: PyTree, images: jax.Array, *, train: bool
  ) -> tuple[Features, PyTree]:
    """Features of images in [0, 1], and the running statistics afterwards."""
    return self.forward(variables, self.normalize(images), train)

  def tail(
    self, variables: PyTree, hidden: jax.Array, start: int, *, train: bool
  ) -> tuple[Features, PyTree]:
    """Features of the stages from `start` on, given that stage's input."""
    if self.forward_tail is None:
      raise ValueError(
        f'{self.name} cannot be entered at stage {start}: it was made '
        'without forward_tail. Give one, or use a method of features only.'
      )
    return self.forward_tail(variables, hidden, start, train)

  def head(self, variables: PyTree, embedding: jax.Array) -> jax.Array:
    """Logits `[B, K]` of embeddings `[B, D]`, by the network's classifier."""
    if self.forward_head is None:
      raise ValueError(
        f'{self.name} cannot classify an embedding: it was made without '
        'forward_head. Give one, or use a method that needs no head.'
      )
    return self.forward_head(variables, embedding)

  def classifier(self, variables: PyTree) -> LinearClassifier | None:
    """Its linear classifier; `None` where that is unknown."""
    if self.read_classifier is None:
      return None
    return self.read_classifier(variables)

  def with_classifier(
    self, variables: PyTree, classifier: LinearClassifier
  ) -> PyTree:
    """The variables with another linear classifier."""
    if self.write_classifier is None:
      raise ValueError(
        f'{self.name} does not say where its classifier is, so no other can '
        'be put in its place: it was made without write_classifier. Give one, '
        'or a Linen module with classifier_name.'
      )
    return self.write_classifier(variables, classifier)

  def is_body(self, params: PyTree) -> PyTree:
    """Of each parameter, whether it is none of the linear classifier's."""
    variables = {'params': params, 'batch_stats': {}}
    own = self.classifier(variables)
    if own is None:
      raise ValueError(
        f'{self.name} does not say where its classifier is: it was made '
        'without read_classifier. Give one, or a Linen module with '
        'classifier_name.'
      )
    other = self.with_classifier(variables, jax.tree.map(jnp.zeros_like, own))
    return jax.tree.map(lambda a, b: a is b, params, other['params'])

  def folded(self, variables: PyTree, image_shape: tuple[int, ...]) -> PyTree:
    """The variables to run it in evaluation mode with, never to train it.

    With each batch norm folded into the layer before it; as they came where
    the network does not know how.
    """
    if self.fold is None:
      return variables
    return self.fold(variables, _images(image_shape, 1))

  def initialize(self, key: jax.Array, image_shape: tuple[int, ...]) -> PyTree:
    """What training starts from, for images of `[H, W, C]`."""
    # Drawing weights is compiled for seconds and runs once: on the CPU the
    # compiler is told not to try hard, which takes a third of the time.
    hurry = {'xla_backend_optimization_level': 0}
    init = jax.jit(
      self.init,
      compiler_options=hurry if jax.default_backend() == 'cpu' else None,
    )
    fresh = init(key, jnp.zeros((1, *image_shape), jnp.float32))
    return self.pretrained(fresh) if self.pretrained is not None else fresh

  def describe(
    self, image_shape: tuple[int, ...], batch_size: int = 1
  ) -> NetworkSpec:
    """Shapes of everything the network gives, without computing any of it.

    Raises:
      ValueError: If images are too small for its stages.
    """
    images = _images(image_shape, batch_size)
    variables = jax.eval_shape(self.init, jax.random.key(0), images)
    features = jax.eval_shape(
      lambda v, x: self.forward(v, x, False)[0], variables, images
    )
    if any(0 in leaf.shape for leaf in jax.tree.leaves(features)):
      raise ValueError(
        f'{self.name} leaves nothing of images of {image_shape[0]} by '
        f'{image_shape[1]} pixels: give larger images or another network.'
      )
    return NetworkSpec(
      name=self.name,
      boundary=self.boundary,
      features=features,
      variables=variables,
      has_tail=self.forward_tail is not None,
      has_head=self.forward_head is not None,
      classifier=jax.eval_shape(self.classifier, variables),
    )


def _images(shape: tuple[int, ...], count: int) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct((count, *shape), jnp.float32)
