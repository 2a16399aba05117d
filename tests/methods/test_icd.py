import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from kdjax import losses
from kdjax.methods import Icd
from kdjax.methods.linear import apply_linear
from tests.methods import support


def _variables(method):
  return method.init(
    jax.random.key(4), support.spec(5), support.spec(7), support.DATA
  )


def test_initial_projections_and_scale():
  params = _variables(Icd(width=3))['params']
  assert params['student']['kernel'].shape == (5, 3)
  assert params['teacher']['kernel'].shape == (7, 3)
  assert float(params['log_scale']) == 1.0
  assert float(params['bias']) == 0.0


def test_term_is_the_mean_loss_of_projected_embeddings():
  method = Icd(weight=2.0, invariance_weight=0.25, width=3)
  variables = _variables(method)
  params = variables['params']
  want = losses.icd(
    apply_linear(params['student'], support.features(5, 1).embedding),
    apply_linear(params['teacher'], support.features(7, 2).embedding),
    scale=jnp.e,
    bias=0.0,
    invariance_weight=0.25,
  )
  got = support.terms(method, variables=variables)['icd']
  np.testing.assert_allclose(got, 2.0 * want.mean(), rtol=1e-5)


@pytest.mark.parametrize(
  ('log_scale', 'want', 'slope'),
  [(0.5, np.exp(0.5), np.exp(0.5)), (2.4, 10.0, 0.0)],  # exp(2.4) is 11.02
)
def test_the_scale_is_trained_up_to_its_cap(log_scale, want, slope):
  got = jax.value_and_grad(lambda x: Icd().scale({'log_scale': x}))(log_scale)
  np.testing.assert_allclose(got, (want, slope), rtol=1e-6)


@pytest.mark.slow
def test_scale_above_its_maximum_has_zero_gradient():
  method = Icd(width=3, max_scale=2.0)  # exp(1) is above it
  variables = _variables(method)

  def total(params):
    given = {**variables, 'params': params}
    return support.terms(method, variables=given)['icd']

  slopes = jax.grad(total)(variables['params'])
  assert float(slopes['log_scale']) == 0.0
  assert np.any(np.asarray(slopes['student']['kernel']) != 0)
  assert np.any(np.asarray(slopes['teacher']['kernel']) != 0)


@pytest.mark.parametrize(
  ('setting', 'message'),
  [
    ({'weight': -1.0}, 'weight of Icd must be zero or more'),
    ({'invariance_weight': -1.0}, 'invariance_weight of Icd must be zero'),
    ({'width': 0}, 'width of Icd must be at least 1, got 0'),
    ({'max_scale': 0.0}, 'max_scale of Icd must be positive, got 0.0'),
    ({'fixed_scale': 0.0}, 'fixed_scale of Icd must be positive, got 0.0'),
    ({'local_groups': 0}, 'local_groups of Icd must be positive, got 0'),
    ({'negatives': 'device'}, "negatives of Icd 'device'. Known: global"),
  ],
)
def test_invalid_settings_raise_an_error(setting, message):
  with pytest.raises(ValueError, match=message):
    Icd(**setting)


def test_fixed_scale_is_not_trained():
  method = Icd(width=3, fixed_scale=0.07)
  variables = _variables(method)
  assert set(variables['params']) == {'student', 'teacher'}
  learnable = Icd(width=3)
  as_fixed = {
    **variables['params'],
    'log_scale': jnp.log(0.07),
    'bias': jnp.zeros(()),
  }
  np.testing.assert_allclose(
    support.terms(method, variables=variables)['icd'],
    support.terms(learnable, variables={**variables, 'params': as_fixed})[
      'icd'
    ],
    rtol=1e-6,
  )


def test_local_negatives_are_those_of_each_group():
  method = Icd(width=3, negatives='local', local_groups=3)
  variables = _variables(method)
  params = variables['params']
  student, teacher = (
    apply_linear(params[role], support.features(width, seed).embedding)
    for role, width, seed in (('student', 5, 1), ('teacher', 7, 2))
  )
  want = np.mean(
    [
      losses.icd(student[i : i + 2], teacher[i : i + 2], scale=jnp.e).mean()
      for i in (0, 2, 4)
    ]
  )
  got = support.terms(method, variables=variables)['icd']
  np.testing.assert_allclose(got, want, rtol=1e-5)
  everyone = dataclasses.replace(method, negatives='global')
  assert support.terms(everyone, variables=variables)['icd'] > got


def test_groups_are_fewer_if_they_do_not_divide_the_batch():
  four, two = (
    Icd(width=3, negatives='local', local_groups=groups) for groups in (4, 2)
  )
  variables = _variables(two)
  np.testing.assert_array_equal(
    support.terms(four, variables=variables)['icd'],
    support.terms(two, variables=variables)['icd'],
  )


def _spec_of(width, images):
  spec = support.spec(width)
  embedding = jax.ShapeDtypeStruct((images, width), jnp.float32)
  features = dataclasses.replace(spec.features, embedding=embedding)
  return dataclasses.replace(spec, features=features)


@pytest.mark.parametrize(
  ('settings', 'images', 'message'),
  [
    ({}, 1, r'a batch of 1 in 1 group.*--batch_size=2'),
    ({'negatives': 'local'}, 8, r'a batch of 8 in 8 group.*local_groups'),
  ],
)
def test_batches_without_negatives_raise_an_error(settings, images, message):
  specs = _spec_of(5, images), _spec_of(7, images)
  with pytest.raises(ValueError, match=message):
    Icd(**settings).init(jax.random.key(0), *specs, support.DATA)


def test_batch_of_one_image_has_zero_loss_and_gradient():
  method = Icd(width=3)
  variables = _variables(method)
  student, teacher = (
    dataclasses.replace(
      network,
      features=jax.tree.map(lambda x: x[:1], network.features),
    )
    for network in (support.make_pass(5, 1), support.make_pass(7, 2))
  )

  def total(params):
    given = {**variables, 'params': params}
    return method.terms(given, student, teacher, {}, support.context())[0][
      'icd'
    ]

  value, slopes = jax.jit(jax.value_and_grad(total))(variables['params'])
  assert float(value) == 0
  for slope in jax.tree.leaves(slopes):
    np.testing.assert_array_equal(slope, 0)


@pytest.mark.parametrize('devices', [2, 8])
def test_sharded_loss_and_gradient_match_one_device(devices):
  method = Icd(width=3)
  params = _variables(method)['params']
  rows = [
    jax.random.normal(jax.random.key(seed), (16, width))
    for seed, width in ((1, 5), (2, 7))
  ]

  @jax.jit
  @jax.value_and_grad
  def step(params, student, teacher):
    passes = (
      dataclasses.replace(
        network,
        features=dataclasses.replace(network.features, embedding=embedding),
      )
      for network, embedding in (
        (support.make_pass(5, 1), student),
        (support.make_pass(7, 2), teacher),
      )
    )
    variables = {'params': params, 'state': {}}
    return method.terms(variables, *passes, {}, support.context())[0]['icd']

  want = step(params, *rows)
  mesh = jax.make_mesh(
    (devices,),
    ('data',),
    axis_types=(AxisType.Auto,),
    devices=jax.devices()[:devices],
  )
  split = NamedSharding(mesh, PartitionSpec('data'))
  whole = NamedSharding(mesh, PartitionSpec())
  got = step(jax.device_put(params, whole), *jax.device_put(rows, split))
  for mine, theirs in zip(jax.tree.leaves(got), jax.tree.leaves(want)):
    np.testing.assert_allclose(mine, theirs, atol=1e-6)
