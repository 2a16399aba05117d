"""A network as the rest of the library uses it: functions of its variables."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from kdjax.features import (
  Boundary,
  Features,
  FeatureTree,
  LinearClassifier,
  NetworkSpec,
)
from kdjax.typing import PyTree

# Collection of random keys by name; steps add it to the variables.
RANDOM = 'rngs'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network:
  """Teacher or student, written in any library.

  `variables` is `{'params': …, 'batch_stats': …}`, and may have further
  collections; without running statistics the second is empty. In training mode
  a step adds the collection `rngs`, random keys by name, of which `dropout` is
  one; a network without random layers ignores it. Images are
  float32 in [0, 1] and are normalized here, so that a teacher and a student may
  be trained with different constants.

  Attributes:
    name: Name in tables and messages.
    init: `(key, images) -> variables`.
    forward: `(variables, images, train) -> (Features, batch_stats)`, of
      normalized images. In training mode it normalizes with the batch and
      returns updated running statistics, otherwise unchanged ones.
    forward_tail: `(variables, hidden, start, train) -> (Features,
      batch_stats)`: the stages from `start` on (`None`: the network cannot
      start in the middle).
    forward_head: `(variables, embedding) -> logits`: the classifier alone
      (`None`: the network cannot run it alone).
    read_classifier: `variables -> LinearClassifier` (`None`: the classifier is
      not linear, or its path is unknown).
    write_classifier: `(variables, LinearClassifier) -> variables` with that
      classifier; all other arrays are the same objects (`None`: as above).
    boundary: Kind of the tensors between two stages; see
      `Features.boundaries`.
    mean: Per-channel mean that is subtracted from images in [0, 1].
    std: Per-channel divisor of the difference.
    pretrained: Maps initialized variables to those that training starts from,
      such as weights of another dataset with the initialized classifier
      (`None`: training starts from the initialized variables).
    fold: `(variables, images) -> variables` that compute the same in evaluation
      mode with fewer operations, given shape and dtype of the images (`None`:
      nothing is folded). See `kdjax.models.folding`.
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
    """Normalizes images with `mean` and `std`.

    Args:
      images: `[B, H, W, C]` in [0, 1].

    Returns:
      `(images - mean) / std`.
    """
    mean = jnp.asarray(self.mean, images.dtype)
    return (images - mean) / jnp.asarray(self.std, images.dtype)

  def apply(
    self, variables: PyTree, images: jax.Array, *, train: bool
  ) -> tuple[Features, PyTree]:
    """Computes the features of images.

    Args:
      variables: The network's.
      images: `[B, H, W, C]` in [0, 1].
      train: Whether to normalize with the batch and update the running
        statistics.

    Returns:
      Features and running statistics.
    """
    return self.forward(variables, self.normalize(images), train)

  def tail(
    self, variables: PyTree, hidden: jax.Array, start: int, *, train: bool
  ) -> tuple[Features, PyTree]:
    """Computes the features of the stages from `start` on.

    Args:
      variables: The network's.
      hidden: Input of stage `start`; see `Features.boundaries`.
      start: Index of the first stage that runs.
      train: See `apply`.

    Returns:
      Features, with `None` for earlier stages, and running statistics.

    Raises:
      ValueError: If the network has no `forward_tail`.
    """
    if self.forward_tail is None:
      raise ValueError(
        f'{self.name} cannot start at stage {start}: it has no forward_tail. '
        'Give one, or use a method that needs features only.'
      )
    return self.forward_tail(variables, hidden, start, train)

  def head(self, variables: PyTree, embedding: jax.Array) -> jax.Array:
    """Computes the logits of embeddings.

    Args:
      variables: The network's.
      embedding: `[B, D]`.

    Returns:
      `[B, K]`.

    Raises:
      ValueError: If the network has no `forward_head`.
    """
    if self.forward_head is None:
      raise ValueError(
        f'{self.name} cannot classify an embedding: it has no forward_head. '
        'Give one, or use a method that needs no head.'
      )
    return self.forward_head(variables, embedding)

  def classifier(self, variables: PyTree) -> LinearClassifier | None:
    """Returns the linear classifier.

    Args:
      variables: The network's.

    Returns:
      The classifier; `None` if the network has no `read_classifier`.
    """
    if self.read_classifier is None:
      return None
    return self.read_classifier(variables)

  def with_classifier(
    self, variables: PyTree, classifier: LinearClassifier
  ) -> PyTree:
    """Returns the variables with another linear classifier.

    Args:
      variables: The network's.
      classifier: The other classifier.

    Raises:
      ValueError: If the network has no `write_classifier`.
    """
    if self.write_classifier is None:
      raise ValueError(
        f'{self.name} does not say where its classifier is, so that it cannot '
        'be replaced: it has no write_classifier. Give one, or a Linen module '
        'with classifier_name.'
      )
    return self.write_classifier(variables, classifier)

  def is_body(self, params: PyTree) -> PyTree:
    """Marks the parameters outside of the linear classifier.

    Args:
      params: Parameters of the network.

    Returns:
      The same tree with True for parameters that are not the classifier's.

    Raises:
      ValueError: If the network has no `read_classifier`.
    """
    variables = {'params': params, 'batch_stats': {}}
    classifier = self.classifier(variables)
    if classifier is None:
      raise ValueError(
        f'{self.name} does not say where its classifier is: it has no '
        'read_classifier. Give one, or a Linen module with classifier_name.'
      )
    other = self.with_classifier(
      variables, jax.tree.map(jnp.zeros_like, classifier)
    )
    return jax.tree.map(lambda a, b: a is b, params, other['params'])

  def folded(self, variables: PyTree, image_shape: tuple[int, ...]) -> PyTree:
    """Returns variables for evaluation mode with folded batch norms.

    Networks of kdjax's layers mark the folded layers in a collection `folded`;
    with such variables they cannot be trained.

    Args:
      variables: The network's.
      image_shape: `(H, W, C)`.

    Returns:
      The folded variables; `variables` itself if the network has no `fold`.
    """
    if self.fold is None:
      return variables
    return self.fold(variables, _images(image_shape, 1))

  def initialize(self, key: jax.Array, image_shape: tuple[int, ...]) -> PyTree:
    """Returns the variables that training starts from.

    Args:
      key: Random key of the initialization.
      image_shape: `(H, W, C)`.

    Returns:
      Initialized variables, or pretrained ones if the network has them.
    """
    # The initialization takes seconds to compile and runs once. On the CPU a
    # low optimization level reduces that time to a third.
    options = {'xla_backend_optimization_level': 0}
    init = jax.jit(
      self.init,
      compiler_options=options if jax.default_backend() == 'cpu' else None,
    )
    initial = init(key, jnp.zeros((1, *image_shape), jnp.float32))
    return self.pretrained(initial) if self.pretrained is not None else initial

  def describe(
    self, image_shape: tuple[int, ...], batch_size: int = 1
  ) -> NetworkSpec:
    """Computes the shapes of variables and features, without any values.

    Args:
      image_shape: `(H, W, C)`.
      batch_size: Number of images.

    Returns:
      Shapes and capabilities of the network.

    Raises:
      ValueError: If images are too small for its stages, or if it does not
        return features.
    """
    # Commands describe the same networks for every arm and seed.
    x64 = jax.dtypes.canonicalize_dtype(float) == jnp.float64
    return _describe(self, tuple(image_shape), batch_size, x64)


def _images(shape: tuple[int, ...], count: int) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct((count, *shape), jnp.float32)


@functools.lru_cache(maxsize=32)
def _describe(
  network: Network, image_shape: tuple[int, ...], batch_size: int, x64: bool
) -> NetworkSpec:
  """Computes `Network.describe`; `x64` is part of the cache key."""
  images = _images(image_shape, batch_size)
  variables = jax.eval_shape(network.init, jax.random.key(0), images)
  features = jax.eval_shape(
    lambda v, x: network.forward(v, x, False)[0], variables, images
  )
  if not isinstance(features, FeatureTree):
    raise ValueError(
      f'{network.name} returns {type(features).__name__}; networks return '
      'kdjax.features.Features, or another class with `outputs` and '
      '`with_outputs`, see docs/own-networks.md.'
    )
  if any(0 in leaf.shape for leaf in jax.tree.leaves(features)):
    raise ValueError(
      f'{network.name} cannot process images of {image_shape[0]} by '
      f'{image_shape[1]} pixels: its stages reduce them to nothing. Give '
      'larger images or another network.'
    )
  return NetworkSpec(
    name=network.name,
    boundary=network.boundary,
    features=features,
    variables=variables,
    has_tail=network.forward_tail is not None,
    has_head=network.forward_head is not None,
    classifier=jax.eval_shape(network.classifier, variables),
  )
