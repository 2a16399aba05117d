"""Linear probes: networks whose new classifier alone is trained."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import optax

from kdjax.features import LinearClassifier
from kdjax.network import Network
from kdjax.typing import PyTree

BatchNorm = Literal['adapt', 'frozen']

_STD = 0.01  # standard deviation of the new classifier's weights


def linear_probe(network: Network, *, bn: BatchNorm) -> Network:
  r"""Returns a network whose new classifier alone has gradients.

  The classifier starts at weights from :math:`N(0, 0.01^2)` and biases of zero.
  No gradient reaches any other parameter, so that none is computed;
  `probe_optimizer` keeps weight decay from them.

  Args:
    network: The network whose features are probed.
    bn: `adapt` normalizes with the batch while training, as the published
      numbers were made: the running statistics are updated by the new images,
      and evaluation uses them. `frozen` always normalizes with the network's
      own statistics: the features are those of the network as it was given.

  Raises:
    ValueError: If the network does not declare its classifier.
  """
  if network.read_classifier is None or network.write_classifier is None:
    raise ValueError(
      f'{network.name} cannot be probed: it does not declare its linear '
      'classifier. Give it read_classifier and write_classifier, or a Linen '
      'module with classifier_name.'
    )

  def init(key, images):
    variables = network.init(key, images)
    fresh = _new_classifier(
      jax.random.fold_in(key, 1), _classifier(network, variables)
    )
    return network.with_classifier(variables, fresh)

  def forward(variables, images, train):
    body = {**variables, 'params': jax.lax.stop_gradient(variables['params'])}
    variables = network.with_classifier(body, _classifier(network, variables))
    return network.forward(variables, images, train and bn == 'adapt')

  return dataclasses.replace(network, init=init, forward=forward)


def with_weights(fresh: PyTree, network: Network, weights: PyTree) -> PyTree:
  """Returns the weights of a network with the new classifier of its probe.

  Args:
    fresh: Newly initialized variables of the probe, with the classifier.
    network: The probe.
    weights: Variables of the network; their classifier is ignored.
  """
  return network.with_classifier(weights, _classifier(network, fresh))


def probe_optimizer(
  optimizer: optax.GradientTransformation, network: Network
) -> optax.GradientTransformation:
  """Returns an optimizer of the classifier alone.

  Gradients of zero would not suffice: weight decay would still shrink the other
  parameters.

  Args:
    optimizer: Optimizer of the classifier.
    network: The probe.
  """

  def labels(params):
    frozen = network.is_body(params['student'])
    names = jax.tree.map(lambda body: 'frozen' if body else 'own', frozen)
    return {'student': names, 'method': {}}

  return optax.partition(
    {'own': optimizer, 'frozen': optax.set_to_zero()}, labels
  )


def _classifier(network: Network, variables: PyTree) -> LinearClassifier:
  classifier = network.classifier(variables)
  assert classifier is not None  # `linear_probe` has checked
  return classifier


def _new_classifier(key: jax.Array, like: LinearClassifier) -> LinearClassifier:
  shape, dtype = like.kernel.shape, like.kernel.dtype
  return LinearClassifier(
    _STD * jax.random.normal(key, shape, dtype), jnp.zeros_like(like.bias)
  )
