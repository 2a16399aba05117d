"""Loading weights of each format into a network, and mismatches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from kdjax import convert
from kdjax.convert.torch import layout as torch_layout
from kdjax.convert.torch import names
from kdjax.runtime.checkpoints import save_variables
from tests.golden import weights

NAME, CLASSES, SHAPE = 'resnet8', 10, (8, 8, 3)


@pytest.fixture(scope='module')
def template():
  return weights.template(NAME, CLASSES, SHAPE)


@pytest.fixture(scope='module')
def arrays(template):
  """The network's arrays by PyTorch name, with random values."""
  shapes = jax.tree.map(lambda x: np.zeros(x.shape), template)
  named = torch_layout.to_torch(shapes, names.rules_of(NAME))
  random = np.random.default_rng(0)
  return {
    name: random.uniform(0.5, 1, array.shape).astype(np.float32)
    for name, array in named.items()
  }


@pytest.fixture(scope='module')
def variables(template, arrays):
  return torch_layout.from_torch(arrays, template, names.rules_of(NAME))


def same(got, want):
  return jax.tree.structure(got) == jax.tree.structure(want) and all(
    np.array_equal(a, b)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want))
  )


def load(path, template, **kwargs):
  return convert.load(path, template, network=NAME, **kwargs)


def test_npz_with_pytorch_names_is_loaded(
  tmp_path, template, arrays, variables
):
  path = tmp_path / 'weights'  # no extension: the format is detected
  with path.open('wb') as file:
    np.savez(file, **arrays)
  assert same(load(path, template), variables)


def test_compressed_float64_npz_is_loaded(
  tmp_path, template, arrays, variables
):
  path = tmp_path / 'weights.npz'
  doubles = {name: array.astype(np.float64) for name, array in arrays.items()}
  np.savez_compressed(path, **doubles)
  assert same(load(path, template), variables)


@pytest.mark.parametrize('sep', ['/', '.'])
def test_safetensors_with_flax_names_is_loaded(
  tmp_path, template, variables, sep
):
  path = tmp_path / 'weights.bin'
  flat = {
    jax.tree_util.keystr(key, simple=True, separator=sep): np.asarray(leaf)
    for key, leaf in jax.tree_util.tree_flatten_with_path(variables)[0]
  }
  safetensors.numpy.save_file(flat, path)
  assert same(load(path, template), variables)
  assert same(convert.load(path, template), variables)


def test_half_precision_is_converted_to_the_network_dtype(
  tmp_path, template, arrays, variables
):
  path = tmp_path / 'weights.safetensors'
  halves = {n: a.astype(jnp.bfloat16) for n, a in arrays.items()}
  safetensors.numpy.save_file(halves, path)
  rounded = jax.tree.map(
    lambda x: np.asarray(x).astype(jnp.bfloat16).astype(np.float32),
    variables,
  )
  assert same(load(path, template), rounded)


def test_orbax_folder_and_run_folder_are_loaded(tmp_path, template, variables):
  (tmp_path / 'run').mkdir()
  save_variables(tmp_path / 'run' / 'student', variables)
  assert same(load(tmp_path / 'run', template), variables)
  assert same(load(tmp_path / 'run' / 'student', template), variables)


@pytest.mark.parametrize(
  'prefix',
  ['module.', 'module.module.', '_orig_mod.module.', 'model.', 'net_s.'],
)
def test_prefixes_are_stripped_and_counters_ignored(
  tmp_path, template, arrays, variables, prefix
):
  path = tmp_path / 'weights.npz'
  wrapped = {prefix + name: array for name, array in arrays.items()}
  wrapped[f'{prefix}bn1.num_batches_tracked'] = np.array(7)
  wrapped['n_averaged'] = np.array(7)  # of `AveragedModel`
  np.savez(path, **wrapped)
  assert same(load(path, template), variables)


def test_common_layer_name_is_not_stripped_as_prefix(tmp_path):
  name = 'imagenet_mobilenet_v1'  # all layers but the classifier are `model.…`
  template = weights.template(name, CLASSES, (32, 32, 3))
  zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), template)
  arrays = torch_layout.to_torch(zeros, names.rules_of(name))
  del arrays['fc.weight'], arrays['fc.bias']
  np.savez(tmp_path / 'body.npz', **arrays)
  with pytest.raises(ValueError, match='does not fit') as info:
    convert.load(tmp_path / 'body.npz', template, network=name)
  assert str(info.value).splitlines()[1:3] == [
    '  missing     fc.weight (10, 1024)',
    '  missing     fc.bias (10,)',
  ]


def test_weights_of_another_depth_list_unexpected_arrays(tmp_path, template):
  deeper = weights.template('resnet14', CLASSES, SHAPE)
  zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), deeper)
  np.savez(
    tmp_path / 'deep.npz',
    **torch_layout.to_torch(zeros, names.rules_of('resnet14')),
  )
  with pytest.raises(
    ValueError, match=r'deep\.npz does not fit resnet8'
  ) as info:
    load(tmp_path / 'deep.npz', template)
  lines = str(info.value).splitlines()
  assert '  unexpected  layer1.1.conv1.weight (16, 16, 3, 3)' in lines
  assert '  unexpected  and 18 more' in lines
  assert not any('missing' in line for line in lines)


def test_allow_partial_loads_matching_arrays(
  tmp_path, template, arrays, variables
):
  half = dict(list(arrays.items())[::2])
  half['fc.weight'] = np.zeros((100, 64), np.float32)
  half['extra'] = np.zeros(3, np.float32)
  np.savez(tmp_path / 'half.npz', **half)
  with pytest.raises(ValueError, match='allow_partial') as info:
    load(tmp_path / 'half.npz', template)
  table = str(info.value)
  assert '  missing     bn1.weight (16,)' in table
  assert '  unexpected  extra (3,)' in table
  assert '  shape       fc.weight: stored (100, 64), expected (10, 64)' in table

  start = jax.tree.map(lambda x: np.full(x.shape, 9, x.dtype), template)
  messages = []
  got = load(
    tmp_path / 'half.npz', start, allow_partial=True, say=messages.append
  )
  assert messages == [table.rsplit('\n', 1)[0]]
  loaded = torch_layout.to_torch(got, names.rules_of(NAME))
  for name, array in loaded.items():
    taken = name in half and name != 'fc.weight'
    want = arrays[name] if taken else np.full_like(array, 9)
    np.testing.assert_array_equal(array, want, err_msg=name)


@pytest.mark.parametrize('stored', ['other classes', 'none', 'the same'])
def test_fresh_classifier_replaces_missing_or_mismatched_one(
  tmp_path, template, arrays, variables, stored
):
  stored_arrays = dict(arrays)
  if stored != 'the same':
    del stored_arrays['fc.weight'], stored_arrays['fc.bias']
  if stored == 'other classes':
    stored_arrays['fc.weight'] = np.ones((1000, 64), np.float32)
    stored_arrays['fc.bias'] = np.ones(1000, np.float32)
  np.savez(tmp_path / 'stored_arrays.npz', **stored_arrays)
  start = jax.tree.map(lambda x: np.full(x.shape, 9, x.dtype), template)
  got = load(
    tmp_path / 'stored_arrays.npz', start, fresh_classifier=True, say=len
  )
  head = start['params']['head'] if stored != 'the same' else None
  assert same(got['params']['head'], head or variables['params']['head'])
  assert same(got['params']['stage_1'], variables['params']['stage_1'])
  assert same(got['batch_stats'], variables['batch_stats'])


def test_fresh_classifier_still_requires_all_other_arrays(
  tmp_path, template, arrays
):
  short = {n: a for n, a in arrays.items() if n != 'bn1.weight'}
  np.savez(tmp_path / 'short.npz', **short)
  start = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), template)
  with pytest.raises(ValueError, match='allow_partial'):
    load(tmp_path / 'short.npz', start, fresh_classifier=True)


def test_allow_partial_requires_initial_values(tmp_path, template, arrays):
  np.savez(tmp_path / 'part.npz', **{'conv1.weight': arrays['conv1.weight']})
  with pytest.raises(ValueError, match='template, which must hold'):
    load(tmp_path / 'part.npz', template, allow_partial=True)


def test_allow_partial_without_any_match_raises_an_error(tmp_path, template):
  np.savez(tmp_path / 'other.npz', nobody=np.zeros(3, np.float32))
  with pytest.raises(ValueError, match='Nothing matches'):
    load(tmp_path / 'other.npz', template, allow_partial=True)


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_non_finite_weights_raise_an_error_with_their_name(
  tmp_path, template, arrays, value
):
  bad = arrays['layer1.0.conv1.weight'].copy()
  bad[0, 0, 0, :2] = value
  np.savez(tmp_path / 'bad.npz', **{**arrays, 'layer1.0.conv1.weight': bad})
  with pytest.raises(
    ValueError,
    match=r'layer1\.0\.conv1\.weight has 2 of 2304 values not finite',
  ):
    load(tmp_path / 'bad.npz', template)


def test_integer_weights_raise_an_error(tmp_path, template, arrays):
  bad = {**arrays, 'fc.bias': np.zeros(10, np.int8)}
  np.savez(tmp_path / 'bad.npz', **bad)
  with pytest.raises(ValueError, match=r'fc\.bias is int8, not floating-point'):
    load(tmp_path / 'bad.npz', template)
