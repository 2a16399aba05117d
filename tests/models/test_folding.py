"""Folded batch norm: the same outputs with fewer operations."""

import dataclasses
import functools
import re

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import errors
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from kdjax.layers import FOLDED, MARKER, BatchNorm, Conv
from kdjax.models.folding import fold_batch_norm
from tests.models import small

# Number of norms that cannot be folded.
_LEFT = {'wrn': 7}  # the first norm of each block, and the last norm
_QUICK = ('resnet', 'resnet, bottlenecks', 'wrn', 'vgg')
_IMAGE = (small.SIZE, small.SIZE, 3)


def _with_random_statistics(variables):
  """Replaces statistics, scales and biases use random values."""
  key = jax.random.key(3)

  def drawn(path, leaf):
    name = path[-1].key
    own = jax.random.fold_in(key, len(jax.tree_util.keystr(path)))
    if name in ('var', 'scale'):
      return jax.random.uniform(own, leaf.shape, leaf.dtype, 0.5, 2)
    if name in ('mean', 'bias'):
      return 0.3 * jax.random.normal(own, leaf.shape, leaf.dtype)
    return leaf

  return jax.tree_util.tree_map_with_path(drawn, variables)


@functools.cache
def _pair(name):
  network = small.create(name)
  variables = _with_random_statistics(small.variables(name))
  return network, variables, network.folded(variables, _IMAGE)


def _count_norms(variables):
  """Counts the batch norms."""
  return sum(path[-1] == 'mean' for path in flatten_dict(variables))


@pytest.mark.parametrize(
  'name',
  [
    pytest.param(name, marks=[] if name in _QUICK else pytest.mark.slow)
    for name in small.NAMES
  ],
)
def test_folded_features_match(name):
  network, variables, folded = _pair(name)
  wanted, _ = small.apply(network, variables, small.images())
  found, _ = small.apply(network, folded, small.images())
  assert jax.tree.structure(found) == jax.tree.structure(wanted)
  for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted)):
    assert one.dtype == other.dtype
    scale = np.abs(other).max()
    np.testing.assert_allclose(one / scale, other / scale, rtol=0, atol=2e-5)


@pytest.mark.parametrize(
  'name',
  [
    pytest.param(name, marks=[] if name in _QUICK else pytest.mark.slow)
    for name in small.NAMES
  ],
)
def test_norms_after_convolutions_are_folded(name):
  _, variables, folded = _pair(name)
  assert _count_norms(folded) == _LEFT.get(name, 0)
  assert (_count_norms(variables) > 0) == (name != 'vit')


def test_folded_program_has_no_normalization():
  network, variables, folded = _pair('resnet')
  images = jax.ShapeDtypeStruct((2, *_IMAGE), jnp.float32)
  forward = jax.jit(functools.partial(network.apply, train=False))

  def operations(variables):
    lowered = forward.trace(variables, images).lower(
      lowering_platforms=('cuda',)
    )
    return re.findall(r'stablehlo\.(\w+)', lowered.as_text())

  before, after = operations(variables), operations(folded)
  assert before.count('rsqrt') == _count_norms(variables)
  assert 'rsqrt' not in after
  assert 'rsqrt' not in forward.lower(folded, images).compile().as_text()
  # The remaining ones normalize the images.
  assert after.count('multiply') + after.count('subtract') <= 2
  assert after.count('convolution') == before.count('convolution')


@pytest.mark.parametrize('name', ['resnet', 'vgg'])
def test_folded_tail_and_its_gradients_match(name):
  network, variables, folded = _pair(name)
  hidden = small.apply(network, variables, small.images())[0].boundaries[0]

  @jax.jit
  def run(variables):
    def loss(hidden):
      return network.tail(variables, hidden, 1, train=False)[0].logits.sum()

    return jax.value_and_grad(loss)(hidden)

  wanted, found = run(variables), run(folded)
  for one, other in zip(found, wanted):
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_folding_does_not_increase_the_error_of_bfloat16():
  _, variables, folded = _pair('resnet')
  network = small.create('resnet', dtype=jnp.bfloat16)
  exact = small.apply(small.create('resnet'), variables, small.images())[0]
  scale = np.abs(exact.logits).max()

  def error(variables):
    found = small.apply(network, variables, small.images())[0].logits
    assert found.dtype == jnp.bfloat16
    return np.abs(found.astype(np.float32) - exact.logits).max() / scale

  assert error(folded) < max(2 * error(variables), 0.01)


def test_training_folded_variables_raises_an_error():
  network, _, folded = _pair('resnet')
  with pytest.raises(ValueError, match='norm is folded into the layer'):
    network.apply(folded, small.images(), train=True)


_MISSING = [
  ('params', 'stage_1', 'block_0', 'norm1', 'scale'),
  ('params', 'stage_1', 'block_0', 'norm1', 'bias'),
  ('batch_stats', 'stage_1', 'block_0', 'norm1', 'mean'),
  ('batch_stats', 'stage_1', 'block_0', 'norm1', 'var'),
]


def _without(variables, *paths):
  flat = flatten_dict(variables)
  return unflatten_dict({p: leaf for p, leaf in flat.items() if p not in paths})


@pytest.mark.parametrize('train', [False, True])
@pytest.mark.parametrize('path', _MISSING, ids='/'.join)
def test_missing_norm_variable_raises_an_error_with_its_name(path, train):
  network, variables, folded = _pair('resnet')
  with pytest.raises(ValueError, match=f'lack {"/".join(path)}, which'):
    network.apply(_without(variables, path), small.images(), train=train)
  network.apply(folded, small.images(), train=False)


@pytest.mark.parametrize('train', [False, True])
def test_norm_without_variables_raises_an_error(train):
  network, variables, _ = _pair('resnet')
  broken = _without(variables, *_MISSING)
  with pytest.raises(ValueError, match='batch norm stage_1/block_0/norm1'):
    network.apply(broken, small.images(), train=train)
  with pytest.raises(ValueError, match='batch norm stage_1/block_0/norm1'):
    network.folded(broken, _IMAGE)


def test_missing_bias_raises_an_error_before_and_after_folding():
  network, variables, folded = _pair('vgg')
  bias = ('params', 'stage_1', 'conv_0', 'bias')
  for each in (variables, folded):
    with pytest.raises(errors.ScopeParamNotFoundError, match='"bias"'):
      network.apply(_without(each, bias), small.images(), train=False)


def test_folded_norm_without_marker_raises_an_error():
  network, _, folded = _pair('resnet')
  marker = (FOLDED, 'stage_0', 'norm', MARKER)
  with pytest.raises(ValueError, match='batch norm stage_0/norm'):
    network.apply(_without(folded, marker), small.images(), train=False)


def test_folding_is_idempotent():
  network, _, folded = _pair('wrn')
  chex.assert_trees_all_equal(network.folded(folded, _IMAGE), folded)


def test_folded_variables_can_be_sharded_and_donated():
  network, _, folded = _pair('resnet')
  assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(folded))
  mesh = Mesh(np.array(jax.devices()), ('batch',))
  replicated = NamedSharding(mesh, PartitionSpec())

  @functools.partial(jax.jit, donate_argnums=0, out_shardings=replicated)
  def run(variables, images):
    return variables, network.apply(variables, images, train=False)[0].logits

  wanted, _ = small.apply(network, folded, small.images())
  placed = jax.device_put(folded, replicated)
  kept, logits = run(placed, small.images())
  np.testing.assert_allclose(logits, wanted.logits, rtol=1e-5, atol=1e-6)
  chex.assert_trees_all_equal(kept, folded)


def test_network_without_folding_keeps_its_variables():
  network = dataclasses.replace(small.create('resnet'), fold=None)
  variables = small.variables('resnet')
  assert network.folded(variables, _IMAGE) is variables


class _ConvolutionAndNorm(nn.Module):
  """A convolution with a bias, and different uses of its output."""

  use: str

  @nn.compact
  def __call__(self, x, *, train):
    convolution = Conv(4, use_bias=True)
    norm = BatchNorm()
    x = convolution(x)
    if self.use == 'a sum too':
      return norm(x, train=train) + x
    if self.use == 'the caller too':
      return norm(x, train=train), x
    if self.use == 'two norms':
      return norm(x, train=train) + BatchNorm()(x, train=train)
    if self.use == 'itself':
      return norm(convolution(x), train=train)
    return norm(x, train=train)


@pytest.mark.parametrize(
  'use', ['a norm', 'a sum too', 'the caller too', 'two norms', 'itself']
)
def test_convolution_is_folded_only_if_its_norm_is_the_only_reader(use):
  module, images = _ConvolutionAndNorm(use), jnp.ones((2, 8, 8, 4))
  variables = _with_random_statistics(
    module.init(jax.random.key(0), images, train=False)
  )
  shape = jax.ShapeDtypeStruct(images.shape, images.dtype)
  folded = fold_batch_norm(module, variables, shape)
  assert (_count_norms(folded) == 0) == (use == 'a norm')
  found, wanted = (
    module.apply(each, images, train=False) for each in (folded, variables)
  )
  jax.tree.map(
    lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-4),
    found,
    wanted,
  )
