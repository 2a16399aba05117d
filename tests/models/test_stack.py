"""Stacks: tails from every boundary, classifiers and precision."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized

from kdjax import models
from kdjax.models.stack import Stack
from tests.models import small


@functools.cache
def _passes(name, train=False):
  """Returns features of the network, and of its tail from every boundary."""
  network = small.create(name)

  @jax.jit
  def passes(variables, images):
    whole, _ = network.apply(variables, images, train=train)
    return whole, [
      network.tail(variables, hidden, index + 1, train=train)[0]
      for index, hidden in enumerate(whole.boundaries)
    ]

  return passes(small.variables(name), small.images())


class TailTest(parameterized.TestCase):
  @parameterized.parameters(*small.NAMES)
  def test_tail_from_every_boundary_matches_the_network(self, name):
    self._check_tails(name, train=False)

  @pytest.mark.slow
  @parameterized.parameters('resnet', 'wrn', 'shufflenet_v2')
  def test_tails_match_in_training_mode(self, name):
    self._check_tails(name, train=True)

  def _check_tails(self, name, train):
    whole, tails = _passes(name, train)
    self.assertLen(tails, len(whole.stages))
    for start, tail in enumerate(tails, 1):
      np.testing.assert_allclose(tail.logits, whole.logits, atol=1e-5)
      for got, want in zip(tail.pre_stages[start:], whole.pre_stages[start:]):
        np.testing.assert_allclose(got, want, atol=1e-5)
      self.assertEqual(tail.stages[:start], (None,) * start)
      self.assertEqual(tail.boundaries[:start], (None,) * start)

  @parameterized.parameters(*small.NAMES)
  def test_head_of_the_embedding_gives_the_logits(self, name):
    whole, _ = _passes(name)
    got = small.create(name).head(small.variables(name), whole.embedding)
    np.testing.assert_allclose(got, whole.logits, atol=1e-6)

  @parameterized.parameters(*small.NAMES)
  @pytest.mark.slow
  def test_classifier_can_be_replaced(self, name):
    network, variables = small.create(name), small.variables(name)
    own = network.classifier(variables)
    other = jax.tree.map(lambda array: 2 * array + 1, own)
    changed = network.with_classifier(variables, other)
    whole, _ = _passes(name)
    want = whole.embedding @ other.kernel + other.bias
    np.testing.assert_allclose(
      network.head(changed, whole.embedding), want, rtol=1e-5, atol=1e-5
    )
    body = network.is_body(variables['params'])
    sizes = jax.tree.map(
      lambda on, leaf: 0 if on else leaf.size, body, variables['params']
    )
    count = sum(jax.tree.leaves(sizes))
    self.assertEqual(count, own.kernel.size + own.bias.size)

  def test_missing_linear_classifier_raises_an_error(self):
    network = dataclasses.replace(
      small.create('resnet'), read_classifier=None, write_classifier=None
    )
    variables = small.variables('resnet')
    self.assertIsNone(network.classifier(variables))
    for ask in (
      lambda: network.with_classifier(variables, None),
      lambda: network.is_body(variables['params']),
    ):
      with self.assertRaisesRegex(ValueError, 'resnet does not say where'):
        ask()

  def test_missing_head_raises_an_error(self):
    network = dataclasses.replace(small.create('resnet'), forward_head=None)
    with self.assertRaisesRegex(ValueError, 'resnet cannot classify'):
      network.head(small.variables('resnet'), jnp.zeros((1, 16)))

  @parameterized.parameters(-1, 4)
  def test_invalid_start_stage_raises_an_error(self, start):
    network, variables = small.create('resnet'), small.variables('resnet')
    with self.assertRaisesRegex(ValueError, f'to 3, got start={start}'):
      network.tail(variables, jnp.zeros((1, 4, 4, 16)), start, train=False)

  def test_tail_rectifies_hidden_features(self):
    network, variables = small.create('resnet'), small.variables('resnet')
    hidden = jax.random.normal(jax.random.key(2), (2, 4, 4, 16))
    got, _ = network.tail(variables, hidden, 3, train=False)
    want, _ = network.tail(variables, jnp.maximum(hidden, 0), 3, train=False)
    np.testing.assert_array_equal(got.logits, want.logits)

  def test_base_class_has_no_stages(self):
    with self.assertRaises(NotImplementedError):
      Stack(num_classes=2).init(jax.random.key(0), small.images(), train=False)


class BoundaryTest(parameterized.TestCase):
  def test_pre_relu_boundary_has_the_same_outputs(self):
    want, _ = _passes('resnet')
    got, _ = _passes('resnet, pre_relu')
    np.testing.assert_allclose(got.logits, want.logits, atol=1e-6)
    for hidden, pre in zip(got.boundaries[1:], want.pre_stages[1:]):
      np.testing.assert_allclose(hidden, pre, atol=1e-6)

  @parameterized.parameters(*small.NAMES)
  def test_boundary_kind_matches_the_features(self, name):
    features, _ = _passes(name)
    lowest = [hidden.min() for hidden in features.boundaries]
    if small.create(name).boundary == 'post_relu':
      self.assertEqual(min(lowest), 0.0)
    else:
      self.assertLess(max(lowest), 0.0)

  @parameterized.parameters(
    'convnet', 'resnet', 'vgg', 'mobilenet_v1', 'shufflenet_v1'
  )
  def test_stages_are_rectified_pre_stages(self, name):
    features, _ = _passes(name)
    for stage, pre in zip(features.stages, features.pre_stages):
      np.testing.assert_array_equal(stage, jnp.maximum(pre, 0))
      self.assertEqual(stage.min(), 0.0)
    self.assertLess(features.pre_stages[-1].min(), 0.0)

  def test_shufflenet_v2_lists_channels_unshuffled_before_the_relu(self):
    features, _ = _passes('shufflenet_v2')
    for stage, pre in zip(features.stages[1:], features.pre_stages[1:]):
      first, second = jnp.split(jnp.maximum(pre, 0), 2, -1)
      np.testing.assert_array_equal(stage[..., 0::2], first)
      np.testing.assert_array_equal(stage[..., 1::2], second)


class PrecisionTest(parameterized.TestCase):
  @parameterized.parameters(*small.NAMES)
  def test_bfloat16_network_has_float32_variables(self, name):
    network = small.create(name, dtype=jnp.bfloat16)
    spec = network.describe((small.SIZE, small.SIZE, 3))
    for leaf in jax.tree.leaves(spec.features):
      self.assertEqual(leaf.dtype, jnp.bfloat16)
    _, stats = jax.eval_shape(
      lambda variables: network.apply(variables, small.images(), train=True),
      spec.variables,
    )
    for leaf in jax.tree.leaves((spec.variables, stats)):
      self.assertEqual(leaf.dtype, jnp.float32)

  @parameterized.parameters('resnet', 'mobilenet_v2', 'vit')
  @pytest.mark.slow
  def test_bfloat16_logits_are_close_to_float32(self, name):
    short = small.create(name, dtype=jnp.bfloat16)
    got, _ = small.apply(short, small.variables(name), small.images())
    want, _ = _passes(name)
    error = jnp.abs(got.logits - want.logits).max()
    self.assertLess(error, 0.02 * jnp.abs(want.logits).max())


class WideResNetTest(parameterized.TestCase):
  def test_statistics_are_updated_once_from_stage_features(self):
    features, stats = small.apply(
      small.create('wrn'), small.variables('wrn'), small.images(4), train=True
    )
    entered = features.stages[1]
    np.testing.assert_allclose(
      stats['stage_2']['block_0']['norm1']['mean'],
      0.1 * entered.mean((0, 1, 2)),
      rtol=1e-5,
      atol=1e-7,
    )
    # With initial parameters the norm's output has mean 0.
    for pre in features.pre_stages[1:]:
      np.testing.assert_allclose(pre.mean((0, 1, 2)), 0.0, atol=1e-5)

  def test_invalid_depth_raises_an_error(self):
    network = models.linen_network(
      models.WideResNet(num_classes=7, depth=18, widen=1), name='wrn_18_1'
    )
    with self.assertRaisesRegex(ValueError, '6n \\+ 4, got 18'):
      network.describe((32, 32, 3))
