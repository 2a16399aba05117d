"""Folding of the teacher in training."""

import functools

import jax
import pytest

from kdjax.methods import Fcfd, Kd
from kdjax.train.folding import inference_variables
from kdjax.train.state import Frozen
from tests.train import support

pytestmark = pytest.mark.optimized


@functools.cache
def _start():
  made = support.epochs(support.parts('kd'))
  return made, support.start(made)[1].teacher


def _variables(**settings):
  made, teacher = _start()
  return inference_variables(
    made.program.parts.teacher,
    teacher,
    made.program.image_shape,
    **{'use': 'always', 'method': Kd(), **settings},
  )


@pytest.mark.parametrize(
  'settings',
  [{'use': 'never'}, {'use': 'auto'}, {'method': Fcfd(teacher_bn='train')}],
)
def test_teacher_is_not_folded_if_that_is_useless_or_wrong(settings):
  assert _variables(**settings) is _start()[1]


@pytest.mark.parametrize(
  'settings', [{}, {'use': 'auto'}, {'method': Fcfd(teacher_bn='eval')}]
)
def test_teacher_is_folded_otherwise(settings, monkeypatch):
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  variables = _variables(**settings)
  assert not jax.tree.leaves(variables['batch_stats'])


def test_training_with_a_folded_teacher_matches():
  made, _ = _start()
  ends = []
  for use in ('never', 'always'):
    carry, _, key = support.start(made)
    teacher = made.program.devices.shard(_variables(use=use))
    carry = support.advance(made, carry, Frozen(teacher=teacher), key, 3)
    ends.append(support.numbers(carry))
  support.close(*ends, 1e-5)
