"""FCFD's settings, and errors of unsupported pairs."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from kdjax import methods
from kdjax.features import Features, NetworkSpec
from kdjax.methods import Fcfd
from tests.methods.support import DATA, spec


def _spec(name, *shapes, boundary='post_relu'):
  boundaries = tuple(
    jax.ShapeDtypeStruct((1, *shape), jnp.float32) for shape in shapes
  )
  row = jax.ShapeDtypeStruct((1, 8), jnp.float32)
  return NetworkSpec(
    name=name,
    boundary=boundary,
    features=Features((), (), boundaries, row, row),
    variables={},
  )


FOUR = ((8, 8, 4), (8, 8, 4), (4, 4, 8), (2, 2, 16))


def _init(method, student, teacher):
  return jax.eval_shape(
    lambda key: method.init(key, student, teacher, DATA), jax.random.key(0)
  )


def test_defaults_are_those_of_the_paper():
  method = methods.create('fcfd')
  assert isinstance(method, Fcfd)
  assert (method.task_weight, method.kd_weight) == (1.0, 1.0)
  assert (method.feature_weight, method.mixed_weight) == (5.0, 1.0)
  assert (method.temperature, method.warmup_epochs) == (4.0, 20)
  assert method.teacher_mode == 'train'
  assert Fcfd(teacher_bn='eval').teacher_mode == 'eval'


def test_combination_keeps_the_teacher_mode():
  assert methods.create('fcfd+icd').teacher_mode == 'train'
  made = methods.combine({'fcfd': Fcfd(teacher_bn='eval'), 'kd': methods.Kd()})
  assert made.teacher_mode == 'eval'


@pytest.mark.parametrize(
  ('settings', 'message'),
  [
    ({'temperature': 0.0}, 'temperature of Fcfd must be positive'),
    ({'mixed_temperature': -1.0}, 'mixed_temperature of Fcfd must be positive'),
    ({'feature_weight': -1.0}, 'feature_weight of Fcfd must be zero or more'),
    ({'mixed_weight': ((3, 1.0), (1, 2.0))}, 'mixed_weight of Fcfd'),
    ({'directions': 'both'}, "Unknown directions of Fcfd 'both'"),
    ({'teacher_bn': 'frozen'}, "Unknown teacher_bn of Fcfd 'frozen'"),
    ({'extra_paths': -1}, 'extra_paths of Fcfd must be zero or more'),
    ({'paths': ('1100', '1100')}, 'paths of Fcfd must be different'),
    ({'warmup_epochs': -1}, 'warmup_epochs of Fcfd'),
  ],
)
def test_invalid_settings_raise_an_error(settings, message):
  with pytest.raises(ValueError, match=message):
    Fcfd(**settings)


@pytest.mark.parametrize(
  ('settings', 'message'),
  [
    ({'extra_paths': 5}, r'extra_paths is 5.*4 stages.*4 paths.*0011, 0001'),
    ({'directions': 's2t', 'extra_paths': 3}, r'2 paths.*1100, 1110'),
    ({'directions': 'nomix', 'extra_paths': 1}, r'0 paths.*none'),
    ({'paths': ('0111',)}, r"no path '0111'"),
    ({'paths': ('0011',), 'directions': 's2t'}, r"no path '0011'"),
  ],
)
def test_unknown_paths_raise_an_error_with_the_known_ones(settings, message):
  student, teacher = _spec('small', *FOUR), _spec('large', *FOUR)
  with pytest.raises(ValueError, match=message):
    _init(Fcfd(**settings), student, teacher)


def test_default_number_of_paths_is_limited_by_the_candidates():
  student, teacher = _spec('small', *FOUR), _spec('large', *FOUR)
  for settings in (
    {'directions': 'nomix'},
    {'paths': ('1100',)},
    {'directions': 't2s'},
  ):
    _init(Fcfd(**settings), student, teacher)


def test_different_numbers_of_stages_raise_an_error():
  student, teacher = _spec('small', *FOUR), _spec('large', *FOUR[:3])
  with pytest.raises(ValueError, match='same number of stages') as caught:
    _init(Fcfd(), student, teacher)
  text = str(caught.value)
  assert 'small has 4: (8, 8, 4), (8, 8, 4), (4, 4, 8), (2, 2, 16)' in text
  assert 'large has 3: (8, 8, 4), (8, 8, 4), (4, 4, 8)' in text


def test_sizes_without_a_bridge_raise_an_error():
  student = _spec('small', *FOUR[:2], (2, 2, 8), (1, 1, 8))
  teacher = _spec('large', *FOUR[:2], (8, 8, 8), (2, 2, 8))
  with pytest.raises(ValueError, match='small to large at stage 2'):
    _init(Fcfd(), student, teacher)


def test_network_without_tails_raises_an_error():
  stack = _spec('stack', *FOUR)
  uncut = dataclasses.replace(stack, name='uncut', has_tail=False)
  for pair in ((uncut, stack), (stack, uncut)):
    with pytest.raises(
      ValueError, match=r'uncut cannot run from a later stage.*not a stack'
    ):
      _init(Fcfd(), *pair)
  with pytest.raises(ValueError, match='flat cannot run from a later stage'):
    _init(Fcfd(), spec(8, 'flat'), stack)
