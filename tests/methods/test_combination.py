import dataclasses
from typing import ClassVar

import jax
import numpy as np
import pytest

from kdjax.methods import Icd, Kd, Method, Supervised, Updates, combine, create
from tests.methods import support


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counting(Method):
  """Counts steps in its state; its parameters are inactive."""

  def init(self, key, student, teacher, data):
    return {'params': {'w': jax.random.normal(key)}, 'state': {'count': 0}}

  def prepare(self, variables, walk, classifier, key):
    return {**variables, 'state': {'count': 10}}

  def terms(self, variables, student, teacher, batch, context):
    count = variables['state']['count'] + 1
    noise = jax.random.normal(context.key)
    return {'kd': noise}, Updates(state={'count': count}, active=False)


class Predicting(Counting):
  def predicting(self, variables, student, teacher):
    weight = variables['params']['w']
    return student.with_head(lambda x: x[:, :4] + weight), {'count': 5}

  def export(self, variables, student, teacher):
    network, own = student
    return network, own + variables['params']['w']


class Drifting(Kd):
  teacher_mode: ClassVar = 'train'


def _variables(method):
  return method.init(
    jax.random.key(4), support.spec(5), support.spec(7), support.DATA
  )


@pytest.mark.slow
def test_terms_are_those_of_both_methods():
  both = support.terms(create('kd+icd'))
  assert set(both) == {'kd', 'icd'}
  alone = support.terms(Kd(weight=1.0))
  np.testing.assert_allclose(both['kd'], alone['kd'], rtol=1e-6)


def test_each_method_has_its_own_variables():
  variables = _variables(create('kd+icd'))
  assert variables['params']['kd'] == {}
  assert set(variables['params']['icd']) == {
    'student',
    'teacher',
    'log_scale',
    'bias',
  }


def test_terms_of_the_same_name_are_prefixed():
  method = combine({'kd': Kd(), 'memory': Counting()})
  assert set(support.terms(method)) == {'kd', 'memory.kd'}


def test_state_and_activity_are_kept_by_method():
  method = combine({'kd': Kd(), 'memory': Counting()})
  variables = _variables(method)
  _, updates = method.terms(
    variables,
    support.make_pass(5, 1),
    support.make_pass(7, 2),
    {},
    support.context(),
  )
  assert updates.state == {'kd': {}, 'memory': {'count': 1}}
  assert updates.active == {'kd': True, 'memory': False}
  key = jax.random.key(0)
  prepared = method.prepare(variables, lambda read: iter(()), None, key)
  assert prepared['state']['memory'] == {'count': 10}


def test_active_is_none_if_all_methods_are_active():
  method = create('kd+icd')
  _, updates = method.terms(
    _variables(method),
    support.make_pass(5, 1),
    support.make_pass(7, 2),
    {},
    support.context(),
  )
  assert updates.active is None


def test_methods_have_different_random_keys():
  method = combine({'one': Counting(), 'two': Counting()})
  terms = support.terms(method)
  assert float(terms['kd']) != float(terms['two.kd'])
  params = _variables(method)['params']
  assert float(params['one']['w']) != float(params['two']['w'])


def test_student_predicts_through_the_predicting_method():
  method = combine({'kd': Kd(), 'p': Predicting()})
  variables = _variables(method)
  student = support.make_pass(5, 1)
  predicting, state = method.predicting(variables, student, None)
  assert state == {'kd': {}, 'p': {'count': 5}}
  got = predicting.features.logits
  weight = variables['params']['p']['w']
  want = student.features.embedding[:, :4] + weight
  np.testing.assert_array_equal(got, want)
  assert method.export(variables, ('n', 1.0), None) == ('n', 1.0 + weight)
  plain = create('kd+icd')
  assert plain.predicting(_variables(plain), student, None)[0] is student
  assert plain.export(_variables(plain), ('n', 1.0), None) == ('n', 1.0)
  assert method.predicts
  assert not plain.predicts


def test_two_predicting_methods_cannot_be_combined():
  with pytest.raises(ValueError, match='one and two cannot be combined'):
    combine({'one': Predicting(), 'two': Predicting()})


def test_teacher_is_in_training_mode_if_one_method_requires_it():
  assert combine({'kd': Kd(), 'd': Drifting()}).teacher_mode == 'train'
  assert create('kd+icd').teacher_mode == 'eval'


def test_combination_has_its_own_task_weight():
  method = create('kd+icd')
  assert method.task_weight == 1.0
  assert method.needs_teacher
  assert dataclasses.replace(method, task_weight=0.5).task_weight == 0.5


def test_fields_are_the_methods():
  method = create('kd+icd')
  changed = dataclasses.replace(method, icd=Icd(weight=3.0))
  assert changed.icd.weight == 3.0
  assert method.icd.weight == 1.0
  assert type(method).__name__ == 'kd+icd'


def test_supervised_has_no_terms_and_no_teacher():
  assert not Supervised().needs_teacher
  assert support.terms(Supervised()) == {}
