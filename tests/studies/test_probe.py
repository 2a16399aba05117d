"""Linear probes: the new classifier and the frozen remainder."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kdjax import models
from kdjax.methods import Supervised
from kdjax.studies.probe import linear_probe, probe_optimizer, with_weights
from kdjax.tasks import SingleLabel
from kdjax.train import Parts, Recipe, train_step
from tests.models import small
from tests.train import support


@pytest.mark.parametrize('name', small.NAMES)
def test_only_the_classifier_is_new_in_every_family(name):
  probe = linear_probe(small.create(name), bn='adapt')
  images = jnp.zeros((1, small.SIZE, small.SIZE, 3))
  params = jax.eval_shape(probe.init, jax.random.key(0), images)['params']
  body = probe.is_body(params)
  head = body.pop('head')
  assert head == {'bias': False, 'kernel': False}
  assert all(jax.tree.leaves(body))
  shapes = [leaf.shape[-1] for leaf in jax.tree.leaves(params['head'])]
  assert shapes == [7, 7]


def test_network_without_a_classifier_raises_an_error():
  network = models.Network(name='mine', init=_never, forward=_never)
  with pytest.raises(ValueError, match='mine cannot be probed: it does not'):
    linear_probe(network, bn='adapt')


def _never(*_):
  raise AssertionError


# The trained parameters of `support.network`.
CLASSIFIER = {
  'hidden': {'kernel': False},
  'norm': {'bias': False, 'scale': False},
  'head': {'bias': True, 'kernel': True},
}


def test_new_classifier_is_normal_with_standard_deviation_001():
  wide = support.network(width=20000)
  probe = linear_probe(wide, bn='adapt')
  fresh = probe.initialize(jax.random.key(3), support.IMAGE_SHAPE)
  kernel = np.asarray(fresh['params']['head']['kernel'])
  assert abs(kernel.std() / 0.01 - 1) < 5 / np.sqrt(2 * kernel.size)
  assert abs(kernel.mean()) < 5 * 0.01 / np.sqrt(kernel.size)
  # Kurtosis of a normal distribution is 3, of a uniform one 1.8.
  assert abs(np.mean((kernel / kernel.std()) ** 4) - 3) < 0.15
  np.testing.assert_array_equal(fresh['params']['head']['bias'], 0)
  again = probe.initialize(jax.random.key(4), support.IMAGE_SHAPE)
  assert not np.array_equal(kernel, again['params']['head']['kernel'])
  # The other parameters are initialized as usual.
  support.identical(
    {**fresh['params'], 'head': 0},
    {
      **wide.initialize(jax.random.key(3), support.IMAGE_SHAPE)['params'],
      'head': 0,
    },
  )


@functools.cache
def train_steps(bn: str, count: int = 4):
  """Returns given weights, and states of a probe before and after steps."""
  network = support.network()
  given = network.initialize(jax.random.key(5), support.IMAGE_SHAPE)
  given['batch_stats'] = jax.tree.map(lambda x: x + 0.25, given['batch_stats'])
  probe = linear_probe(network, bn=bn)
  start = functools.partial(with_weights, network=network, weights=given)
  recipe = Recipe(epochs=1, batch_size=support.BATCH, weight_decay=0.1)
  method = Supervised()
  optimizer = recipe.optimizer(3, probe, method)
  parts = Parts(
    student=dataclasses.replace(probe, pretrained=start),
    teacher=None,
    method=method,
    task=SingleLabel(),
    augment=support.dataset().augment,
    optimizer=probe_optimizer(optimizer, network),
    steps_per_epoch=3,
  )
  state = support.first_state(parts)
  states = [state]
  step = jax.jit(functools.partial(train_step, parts=parts))
  for _ in range(count):
    state, metrics = step(state, {}, support.first_batch())
    states.append(state)
  return given, parts, states, metrics


@pytest.mark.parametrize('bn', ['adapt', 'frozen'])
def test_only_the_classifier_is_trained(bn):
  given, _, states, _ = train_steps(bn)
  body = {**given['params'], 'head': 0}
  for state in states:
    support.identical({**state.params['student'], 'head': 0}, body)
  heads = [state.params['student']['head']['kernel'] for state in states]
  assert not np.array_equal(heads[0], given['params']['head']['kernel'])
  for one, next_one in itertools.pairwise(heads):
    assert np.all(one != next_one)


def test_frozen_statistics_are_bit_identical():
  given, _, states, _ = train_steps('frozen')
  for state in states:
    support.identical(state.batch_stats, given['batch_stats'])


def test_adapted_statistics_are_those_of_the_new_images():
  given, parts, states, _ = train_steps('adapt', 200)
  batch = support.first_batch()
  images = batch['image'] / jnp.float32(255)
  hidden = images.reshape(len(images), -1) @ given['params']['hidden']['kernel']
  (first,), (last,) = (
    [state.batch_stats['norm']['mean']] for state in (states[0], states[-1])
  )
  far = np.abs(first - hidden.mean(0)).max()
  # The initial value has weight 0.9^200; random crops cause small changes.
  assert np.abs(last - hidden.mean(0)).max() < 0.3 * far
  adapted, _ = parts.student.apply(
    states[-1].student_variables, images, train=False
  )
  before, _ = parts.student.apply(given, images, train=False)
  assert not np.allclose(adapted.embedding, before.embedding, atol=1e-2)


def test_frozen_features_equal_those_of_the_given_network():
  given, parts, states, _ = train_steps('frozen')
  images = support.first_batch()['image'] / jnp.float32(255)
  want, _ = support.network().apply(given, images, train=False)
  for train in (False, True):
    got, _ = parts.student.apply(
      states[-1].student_variables, images, train=train
    )
    np.testing.assert_array_equal(got.embedding, want.embedding)


def test_no_gradient_is_computed_below_the_classifier():
  _, parts, states, metrics = train_steps('adapt')
  state = states[-2]

  def loss(params):
    variables = {'params': params, 'batch_stats': state.batch_stats}
    images = support.first_batch()['image'] / jnp.float32(255)
    features, _ = parts.student.apply(variables, images, train=True)
    return features.logits.sum()

  gradients = jax.grad(loss)(state.params['student'])
  nonzero = jax.tree.map(lambda g: bool(np.any(g)), gradients)
  assert nonzero == CLASSIFIER
  assert metrics['grad_norm'] > 0


@pytest.mark.slow
def test_step_matches_pytorch_sgd_on_a_linear_layer():
  """Compares with three manual steps of momentum SGD with weight decay."""
  given, parts, states, _ = train_steps('frozen')
  recipe = Recipe(epochs=1)
  kernel, buffer = states[0].params['student']['head']['kernel'], 0.0
  batch = support.first_batch()
  for state in states[:3]:
    augment_key, _ = jax.random.split(jax.random.fold_in(state.key, state.step))
    view = parts.augment(augment_key, batch)['image']
    features, _ = support.network().apply(given, view, train=False)
    bias = state.params['student']['head']['bias']
    chances = jax.nn.softmax(features.embedding @ kernel + bias)
    error = chances - jax.nn.one_hot(batch['label'], support.CLASSES)
    gradient = features.embedding.T @ error / len(view) + 0.1 * kernel
    buffer = recipe.momentum * buffer + gradient
    kernel = kernel - recipe.learning_rate * buffer
  np.testing.assert_allclose(
    kernel, states[3].params['student']['head']['kernel'], rtol=2e-4, atol=1e-6
  )


def test_optimizer_has_no_momentum_for_frozen_parameters():
  optimizer = probe_optimizer(optax.sgd(0.1, momentum=0.9), support.network())
  params = {'student': small_tree(), 'method': {}}
  state = optimizer.init(params)
  kept = {leaf.shape for leaf in jax.tree.leaves(state) if leaf.ndim}
  assert kept == {(6, 3), (3,)}


def small_tree():
  return support.network().initialize(jax.random.key(0), support.IMAGE_SHAPE)[
    'params'
  ]
