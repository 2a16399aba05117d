"""A linear probe: a network whose classifier is new and trained alone."""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from kdjax import models
from kdjax.models.network import Network

PyTree = Any
BatchNorm = Literal['adapt', 'frozen']

_DEVIATION = 0.01  # of the new classifier's weights


def classifier_of(
  name: str, *, num_classes: int, image_shape: tuple[int, ...]
) -> PyTree:
  """Which parameters of a network of `kdjax.models.NETWORKS` classify.

  Those whose shape depends on the number of classes, wherever the network has
  them and whatever it calls them.

  Returns:
    A tree of bool like the network's `params`.

  Raises:
    ValueError: If there is no such network, or none of its parameters do.
  """
  images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
  own, other = (
    jax.eval_shape(
      models.create(name, num_classes=count).init, jax.random.key(0), images
    )['params']
    for count in (num_classes, num_classes + 1)
  )
  found = jax.tree.map(lambda a, b: a.shape != b.shape, own, other)
  if not any(jax.tree.leaves(found)):
    raise ValueError(
      f'{name} has no classifier to probe: none of its parameters depends on '
      'the number of classes.'
    )
  return found


def linear_probe(
  network: Network, classifier: PyTree, *, bn: BatchNorm
) -> Network:
  r"""A network as it is probed.

  Its classifier starts at weights from :math:`N(0, 0.01^2)` and biases of
  zero. No gradient reaches any other parameter, so that none is computed; for
  what keeps weight decay from them see `probe_optimizer`.

  Args:
    network: Whose other parameters stay as they are.
    classifier: See `classifier_of`.
    bn: `adapt` normalises with the batch while training, as the published
      numbers were made: the running statistics move to the new images, and
      evaluation uses them. `frozen` normalises with the network's own
      statistics always: the features are those of the network as it was given.
  """

  def init(key, images):
    variables = network.init(key, images)
    return {**variables, 'params': _redrawn(key, variables['params'])}

  def _redrawn(key, params):
    leaves, tree = jax.tree.flatten(params)
    places = zip(leaves, jax.tree.leaves(classifier), strict=True)
    return tree.unflatten(
      _fresh(jax.random.fold_in(key, place), leaf) if own else leaf
      for place, (leaf, own) in enumerate(places)
    )

  def forward(variables, images, train):
    params = jax.tree.map(
      lambda own, leaf: leaf if own else jax.lax.stop_gradient(leaf),
      classifier,
      variables['params'],
    )
    variables = {**variables, 'params': params}
    return network.forward(variables, images, train and bn == 'adapt')

  return dataclasses.replace(network, init=init, forward=forward)


def with_weights(fresh: PyTree, classifier: PyTree, weights: PyTree) -> PyTree:
  """Freshly drawn variables of a probe with the weights of a network.

  Args:
    fresh: Of the probe; its classifier stays.
    classifier: See `classifier_of`.
    weights: The network's; its classifier is ignored.
  """
  params = jax.tree.map(
    lambda own, drawn, given: drawn if own else given,
    classifier,
    fresh['params'],
    weights['params'],
  )
  return {**weights, 'params': params}


def probe_optimizer(
  optimizer: optax.GradientTransformation, classifier: PyTree
) -> optax.GradientTransformation:
  """An optimiser of a probe's state that leaves all but the classifier alone.

  A gradient of zero would not do: weight decay would still shrink them.
  """
  labels = jax.tree.map(lambda own: 'own' if own else 'frozen', classifier)
  return optax.partition(
    {'own': optimizer, 'frozen': optax.set_to_zero()},
    {'student': labels, 'method': {}},
  )


def _fresh(key: jax.Array, leaf: jax.Array) -> jax.Array:
  if leaf.ndim < 2:
    return jnp.zeros_like(leaf)
  return _DEVIATION * jax.random.normal(key, leaf.shape, leaf.dtype)
