"""SSIM as a method: stages, adapters, their sum, and mistakes."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import losses, methods
from kdjax.cli import flags
from kdjax.features import Features, NetworkSpec
from kdjax.methods import Ssim
from kdjax.methods.linear import apply_linear
from tests.methods import support

_SMALL = ((8, 8, 3), (4, 4, 5))
_LARGE = ((8, 8, 4), (4, 4, 5))


def _stages(shapes, seed=0, dtype=jnp.float32):
  rng = np.random.default_rng(seed)
  return tuple(
    jnp.asarray(rng.normal(size=(2, *shape)), dtype) for shape in shapes
  )


def _spec(shapes, name='student'):
  stages = tuple(
    jax.ShapeDtypeStruct((2, *shape), jnp.float32) for shape in shapes
  )
  vector = jax.ShapeDtypeStruct((2, 4), jnp.float32)
  return NetworkSpec(
    name=name,
    boundary='post_relu',
    features=Features(stages, stages, stages, vector, vector),
    variables={},
  )


def _init(method, student, teacher):
  return method.init(
    jax.random.key(0), _spec(student), _spec(teacher, 'teacher'), support.DATA
  )


def _term(method, variables, *networks):
  passes = (
    types.SimpleNamespace(features=types.SimpleNamespace(stages=stages))
    for stages in networks
  )
  terms, updates = method.terms(variables, *passes, {}, support.context())
  assert list(terms) == ['ssim']
  assert updates.state is None
  return terms['ssim']


def test_distances_of_stages_are_summed_and_those_of_images_averaged():
  method = Ssim(weight=((1, 7.0), (3, 2.0)), compare='l1', extent='none')
  teacher = tuple(jnp.zeros((2, *shape)) for shape in _LARGE)
  by_image = [(0.1, 0.3), (1.0, 3.0)]
  student = tuple(
    maps + jnp.array(values)[:, None, None, None]
    for maps, values in zip(teacher, by_image)
  )
  passes = (
    types.SimpleNamespace(features=types.SimpleNamespace(stages=stages))
    for stages in (student, teacher)
  )
  context = support.context(epoch=3)
  terms, _ = method.terms({'params': {}}, *passes, {}, context)
  np.testing.assert_allclose(terms['ssim'], 2.0 * (0.2 + 2.0), rtol=1e-6)


@pytest.mark.slow
def test_term_is_the_weighted_sum_of_stage_means():
  method = Ssim(weight=2.0)
  variables = _init(method, _SMALL, _LARGE)
  # Channels differ at stage 0 only.
  assert list(variables['params']) == ['0']
  assert variables['params']['0']['kernel'].shape == (3, 4)
  student, teacher = _stages(_SMALL), _stages(_LARGE, 1)
  adapted = (apply_linear(variables['params']['0'], student[0]), student[1])
  want = sum(
    losses.ssim(*map(losses.min_max_rescale, pair)).mean()
    for pair in zip(adapted, teacher)
  )
  got = jax.jit(lambda *maps: _term(method, variables, *maps))
  np.testing.assert_allclose(got(student, teacher), 2 * want, rtol=1e-5)


def test_student_and_adapter_have_gradients_but_not_the_teacher():
  method = Ssim()
  variables = _init(method, _SMALL, _LARGE)

  @jax.jit
  def gradients(params, student, teacher):
    return jax.grad(
      lambda p, s, t: _term(method, {'params': p, 'state': {}}, s, t),
      argnums=(0, 1, 2),
    )(params, student, teacher)

  to_params, to_student, to_teacher = gradients(
    variables['params'], _stages(_SMALL), _stages(_LARGE, 1)
  )
  for part in jax.tree.leaves((to_params['0']['kernel'], to_student)):
    assert np.max(np.abs(part)) > 0
  for part in to_teacher:
    np.testing.assert_array_equal(part, 0)


@pytest.mark.parametrize(
  ('adapter', 'indices'), [('always', ['0', '1']), ('if_needed', ['0'])]
)
def test_adapters_are_created_where_needed(adapter, indices):
  variables = _init(Ssim(adapter=adapter), _SMALL, _LARGE)
  assert sorted(variables['params']) == indices


def test_teacher_stages_may_have_other_indices():
  method = Ssim(stages=(0,), teacher_stages=(-1,))
  variables = _init(method, [(4, 4, 5)], _LARGE)
  teacher = _stages(_LARGE, 1)
  same = _term(method, variables, teacher[1:], teacher)
  np.testing.assert_allclose(same, 0, atol=1e-5)


@pytest.mark.parametrize('compare', ['ssim', 'l1', 'l2'])
def test_half_precision_features_are_compared_in_float32(compare):
  # Quarters of small integers are exact in bfloat16: only computations could
  # differ.
  maps, other = (
    np.round(4 * _stages([(6, 6, 4)], seed)[0]) / 4 for seed in (0, 1)
  )
  method = Ssim(compare=compare, stages=(-1,))
  distance = jax.jit(method.distance)
  wide = distance(jnp.asarray(maps), jnp.asarray(other))
  for dtype in (jnp.float16, jnp.bfloat16):
    narrow = distance(jnp.asarray(maps, dtype), jnp.asarray(other, dtype))
    assert narrow.dtype == jnp.float32
    np.testing.assert_array_equal(narrow, wide)


def test_l1_and_l2_compare_the_same_rescaled_maps():
  x, y = _stages([(6, 6, 4)])[0], _stages([(6, 6, 4)], 1)[0]
  u, v = losses.min_max_rescale(x), losses.min_max_rescale(y)
  for compare, power in (('l1', 1), ('l2', 2)):
    want = np.mean(np.abs(u - v) ** power, axis=(1, 2, 3))
    got = Ssim(compare=compare).distance(x, y)
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_larger_map_is_resized_to_the_smaller():
  method = Ssim(stages=(-1,), resize='smaller')
  _init(method, [(4, 4, 5)], [(8, 8, 5)])
  rough = np.kron(np.eye(4), np.ones((2, 2)))[None, :, :, None]
  exact = np.eye(4)[None, :, :, None]
  one_way = method.distance(jnp.asarray(exact), jnp.asarray(rough))
  other_way = method.distance(jnp.asarray(rough), jnp.asarray(exact))
  np.testing.assert_allclose(one_way, other_way, rtol=1e-5)
  np.testing.assert_allclose(one_way, 0, atol=1e-6)


@pytest.mark.slow
def test_single_pixel_maps_have_zero_loss_by_channel():
  # A single pixel that is rescaled by itself is zero.
  method = Ssim(stages=(-1,))
  x, y = _stages([(1, 1, 5)])[0], _stages([(1, 1, 5)], 1)[0]
  value, slope = jax.value_and_grad(lambda x: method.distance(x, y).sum())(x)
  np.testing.assert_allclose(value, 0, atol=1e-4)
  np.testing.assert_array_equal(slope, 0)
  by_sample = dataclasses.replace(method, extent='sample')
  assert np.max(np.abs(jax.grad(lambda x: by_sample.distance(x, y).sum())(x)))


@pytest.mark.parametrize(
  ('settings', 'student', 'teacher', 'message'),
  [
    ({}, [(8, 8, 3), (4, 4, 5)], [(8, 8, 4), (2, 2, 5)], 'resize=smaller'),
    ({'resize': 'smaller'}, [(8, 8, 3)] * 2, [(5, 5, 4)] * 2, 'whole blocks'),
    ({'stages': (-3,)}, _SMALL, _LARGE, 'student has 2 stages.*asked for -3'),
    ({'stages': (2,)}, _SMALL, _LARGE, 'student has 2 stages, 0 to 1 or -2 to'),
    ({'adapter': 'never'}, _SMALL, _LARGE, r'8 x 8 x 3.*adapter=if_needed'),
    ({'stages': (-1,)}, [(5, 5)], [(5, 5)], r'stage -1 of student is \(2, 5'),
    (
      {'similarity': losses.SsimSettings(border='valid')},
      _SMALL,
      _LARGE,
      'window of 11 pixels does not fit',
    ),
  ],
)
def test_unsupported_pairs_raise_an_error(settings, student, teacher, message):
  with pytest.raises(ValueError, match=message):
    _init(Ssim(**settings), student, teacher)


@pytest.mark.parametrize(
  ('settings', 'message'),
  [
    ({'weight': -1.0}, 'weight of Ssim must be zero or more'),
    ({'epsilon': 0.0}, 'epsilon of Ssim must be positive'),
    ({'extent': 'image'}, "extent of Ssim 'image'"),
    ({'compare': 'l3'}, "compare of Ssim 'l3'; did you mean"),
    ({'resize': 'larger'}, "resize of Ssim 'larger'"),
    ({'stages': ()}, 'compares stages, got none'),
    ({'teacher_stages': (-1,)}, r'2 stages of the student .*got \(-1,\)'),
  ],
)
def test_invalid_settings_raise_an_error(settings, message):
  with pytest.raises(ValueError, match=message):
    Ssim(**settings)


def test_every_setting_is_a_flag():
  @dataclasses.dataclass(frozen=True, kw_only=True)
  class Config:
    """Configuration of a method only."""

    method: methods.Method

  arguments = [
    '--method=ssim',
    '--method.stages=-3,-1',
    '--method.similarity.window=7',
    '--method.extent=sample',
  ]
  config = flags.parse(
    lambda method: Config(method=methods.create(method)),
    arguments,
    name='command',
    description=None,
    deciding=('method',),
  ).config
  assert config.method == Ssim(
    stages=(-3, -1),
    similarity=losses.SsimSettings(window=7),
    extent='sample',
  )
