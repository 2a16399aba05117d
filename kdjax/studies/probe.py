"""A linear probe: a network whose classifier is new and trained alone."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import optax

from kdjax.features import LinearClassifier
from kdjax.network import Network
from kdjax.typing import PyTree

BatchNorm = Literal['adapt', 'frozen']

_DEVIATION = 0.01  # of the new classifier's weights


def linear_probe(network: Network, *, bn: BatchNorm) -> Network:
  r"""A network as it is probed.

  Its classifier starts at weights from :math:`N(0, 0.01^2)` and biases of
  zero. No gradient reaches any other parameter, so that none is computed; for
  what keeps weight decay from them see `probe_optimizer`.

  Args:
    network: Whose other parameters stay as they are.
    bn: `adapt` normalises with the batch while training, as the published
      numbers were made: the running statistics move to the new images, and
      evaluation uses them. `frozen` normalises with the network's own
      statistics always: the features are those of the network as it was given.

  Raises:
    ValueError: If the network does not say where its classifier is.
  """
  if network.read_classifier is None or network.write_classifier is None:
    raise ValueError(
      f'{network.name} cannot be probed: it does not say where its linear '
      'classifier is. Give it read_classifier and write_classifier, or a Linen '
      'module with classifier_name.'
    )

  def init(key, images):
    variables = network.init(key, images)
    fresh = _drawn(jax.random.fold_in(key, 1), _classifier(network, variables))
    return network.with_classifier(variables, fresh)

  def forward(variables, images, train):
    body = {**variables, 'params': jax.lax.stop_gradient(variables['params'])}
    variables = network.with_classifier(body, _classifier(network, variables))
    return network.forward(variables, images, train and bn == 'adapt')

  return dataclasses.replace(network, init=init, forward=forward)


def with_weights(fresh: PyTree, network: Network, weights: PyTree) -> PyTree:
  """Freshly drawn variables of a probe with the weights of a network.

  Args:
    fresh: Of the probe; its classifier stays.
    network: The probe.
    weights: The network's; its classifier is ignored.
  """
  return network.with_classifier(weights, _classifier(network, fresh))


def probe_optimizer(
  optimizer: optax.GradientTransformation, network: Network
) -> optax.GradientTransformation:
  """An optimiser of a probe's state that leaves all but the classifier alone.

  A gradient of zero would not do: weight decay would still shrink them.
  """

  def labels(params):
    frozen = network.is_body(params['student'])
    names = jax.tree.map(lambda body: 'frozen' if body else 'own', frozen)
    return {'student': names, 'method': {}}

  return optax.partition(
    {'own': optimizer, 'frozen': optax.set_to_zero()}, labels
  )


def _classifier(network: Network, variables: PyTree) -> LinearClassifier:
  found = network.classifier(variables)
  assert found is not None  # `linear_probe` has looked
  return found


def _drawn(key: jax.Array, like: LinearClassifier) -> LinearClassifier:
  shape, dtype = like.kernel.shape, like.kernel.dtype
  return LinearClassifier(
    _DEVIATION * jax.random.normal(key, shape, dtype), jnp.zeros_like(like.bias)
  )
