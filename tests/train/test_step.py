import dataclasses
import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kdjax.methods import Kd, Method, Updates, combine
from kdjax.train import Recipe, train_step
from kdjax.train.forward import predict
from tests.train import support


@dataclasses.dataclass(frozen=True, kw_only=True)
class Toy(Method):
  """Two parameters: even steps train one of them, odd steps both."""

  def init(self, key, student, teacher, data):
    assert data.num_images == len(data.labels) == support.TRAIN
    assert data.num_classes == support.CLASSES
    return {
      'params': {'always': jnp.float32(2.0), 'odd': {'w': jnp.ones(3)}},
      'state': {'steps': jnp.int32(0), 'mean': jnp.zeros(6)},
    }

  def prepare(self, variables, walk, classifier, key):
    assert classifier.kernel.shape == (6, support.CLASSES)
    first, second = (
      np.concatenate([*walk(lambda features, batch: features.embedding)])
      for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)
    state = {**variables['state'], 'mean': first.mean(0)}
    return {**variables, 'state': state}

  def terms(self, variables, student, teacher, batch, context):
    params, state = variables['params'], variables['state']
    value = params['always'] ** 2 + params['odd']['w'].sum()
    return {'toy': value}, Updates(
      state={**state, 'steps': state['steps'] + 1},
      active={'always': True, 'odd': context.step % 2 == 1},
    )

  def predicting(self, variables, student, teacher):
    always = variables['params']['always']
    return student.with_head(lambda rows: student.head(rows) + always), None


class Drifting(Kd):
  """A method with the teacher in training mode."""

  teacher_mode: ClassVar = 'train'


@functools.cache
def _parts(method):
  """Returns cached parts, so that each step is compiled once."""
  return support.parts(method)


@functools.cache
def _compiled(made):
  return jax.jit(functools.partial(train_step, parts=made))


def _step(made, state):
  teacher = support.teacher_variables(made)
  return _compiled(made)(state, teacher, support.first_batch())


def _momentum(state):
  return optax.tree.get(state.opt_state, 'trace')


def test_loss_is_the_sum_of_the_reported_terms():
  made = _parts('kd+icd')
  _, metrics = _step(made, support.first_state(made))
  terms = {k: v for k, v in metrics.items() if k.startswith('terms/')}
  assert set(terms) == {'terms/task', 'terms/kd', 'terms/icd'}
  assert float(metrics['loss']) == pytest.approx(float(sum(terms.values())))


def test_update_is_the_gradient_of_the_reported_loss():
  recipe = Recipe(learning_rate=0.25, momentum=0.0, weight_decay=0.0)
  made = support.parts('kd', recipe)
  state = support.first_state(made)
  after, _ = _step(made, state)

  def loss(weight):
    params = jax.tree.map(lambda leaf: leaf, state.params)
    params['student']['hidden']['kernel'] = weight
    moved = dataclasses.replace(state, params=params)
    return _step(made, moved)[1]['loss']

  weight = state.params['student']['hidden']['kernel']
  direction = jax.random.normal(jax.random.key(1), weight.shape)
  step = 1e-2 / jnp.abs(direction).max()
  slope = loss(weight + step * direction) - loss(weight - step * direction)
  moved = after.params['student']['hidden']['kernel'] - weight
  np.testing.assert_allclose(
    jnp.vdot(moved, direction), -0.25 * slope / (2 * step), rtol=2e-2
  )


def test_inactive_method_parameters_keep_value_and_momentum():
  made = _parts(Toy())
  state = support.first_state(made)
  state, _ = _step(made, state)  # step 0: even
  support.identical(state.params['method']['odd']['w'], jnp.ones(3))
  state, _ = _step(made, state)  # step 1: odd, so that there is momentum
  before = state
  state, _ = _step(made, state)  # step 2: even again
  old, new = before.params['method'], state.params['method']
  support.identical(old['odd'], new['odd'])
  assert old['always'] != new['always']
  old, new = (
    _momentum(state)['method']['odd']['w'] for state in (before, state)
  )
  support.identical(old, new)
  assert np.all(np.asarray(old) != 0)


class Body(Kd):
  """Trains the student without its classifier."""

  def terms(self, *args):
    terms, _ = super().terms(*args)
    return terms, Updates(student='body')


class Nothing(Kd):
  """Trains nothing of the student."""

  def terms(self, *args):
    terms, _ = super().terms(*args)
    return terms, Updates(student_active=jnp.array(False))


@pytest.mark.parametrize('method', [Body(), Nothing()])
def test_inactive_student_parameters_keep_value_and_momentum(method):
  made = support.parts(method)
  state = support.first_state(made)
  after, _ = _step(made, state)
  old, new = state.params['student'], after.params['student']
  support.identical(old['head'], new['head'])
  momentum = _momentum(after)['student']
  assert not any(np.any(leaf) for leaf in jax.tree.leaves(momentum['head']))
  moves = bool(np.any(old['hidden']['kernel'] != new['hidden']['kernel']))
  assert moves == isinstance(method, Body)
  for stats, moved in zip(
    jax.tree.leaves(state.batch_stats), jax.tree.leaves(after.batch_stats)
  ):
    assert np.any(stats != moved)


def test_combination_freezes_what_one_method_freezes():
  made = support.parts(combine({'body': Body(), 'toy': Toy()}))
  state = support.first_state(made)
  after, _ = _step(made, state)
  support.identical(
    state.params['student']['head'], after.params['student']['head']
  )


def test_activity_is_kept_by_method_in_combinations():
  made = support.parts(combine({'kd': Kd(), 'toy': Toy()}))
  state = support.first_state(made)
  after, _ = _step(made, state)
  old, new = state.params['method']['toy'], after.params['method']['toy']
  support.identical(old['odd'], new['odd'])
  assert old['always'] != new['always']
  assert int(after.method_state['toy']['steps']) == 1


def test_statistics_of_a_teacher_in_training_mode_change():
  made = support.parts(Drifting())
  state = support.first_state(made)
  assert made.teacher is not None
  variables = support.teacher_variables(made)
  after, _ = _step(made, state)
  images = made.augment(jax.random.key(0), support.first_batch())['image']
  assert images.shape == (8, 4, 4, 1)
  moved = jax.tree.map(
    lambda a, b: bool(np.any(np.asarray(a) != np.asarray(b))),
    after.teacher_stats,
    variables['batch_stats'],
  )
  assert all(jax.tree.leaves(moved))
  twice, _ = _step(made, after)
  with pytest.raises(AssertionError):
    support.identical(twice.teacher_stats, after.teacher_stats)


def test_statistics_of_other_teachers_are_not_in_the_state():
  made = _parts('kd')
  state, _ = _step(made, support.first_state(made))
  assert state.teacher_stats == {}


def test_initial_student_does_not_depend_on_the_method():
  states = [
    support.first_state(_parts(method))
    for method in ('none', 'kd', 'kd+icd', Toy())
  ]
  for state in states[1:]:
    support.identical(states[0].params['student'], state.params['student'])
    support.identical(states[0].batch_stats, state.batch_stats)
    support.identical(states[0].key, state.key)


def test_initial_student_depends_on_the_seed():
  made = support.parts()
  one, other = (support.first_state(made, seed).params for seed in (0, 1))
  with pytest.raises(AssertionError):
    support.identical(one, other)


def test_prepare_and_predicting_of_the_method_are_called(tmp_path):
  made = support.epochs(support.parts(Toy()))
  run, parts = support.run(tmp_path, made), made.program.parts
  carry = support.first_carry(run)
  teacher = run.teacher_variables
  images = support.dataset().train.images / np.float32(255)
  wanted, _ = parts.teacher.apply(teacher, images, train=False)
  np.testing.assert_allclose(
    carry.state.method_state['mean'], wanted.embedding.mean(0), rtol=1e-5
  )
  images = jnp.zeros((2, *support.IMAGE_SHAPE))
  features = predict(
    carry.state.student_variables,
    carry.state.method_variables,
    teacher,
    images,
    parts=parts,
  )
  own = parts.student.head(carry.state.student_variables, features.embedding)
  np.testing.assert_allclose(features.outputs, own + 2.0, rtol=1e-6)
  np.testing.assert_array_equal(features.logits, features.outputs)


@pytest.mark.slow
def test_bfloat16_step_is_close_and_has_float32_parameters():
  narrow = support.network(dtype=jnp.bfloat16)
  teacher = support.network('teacher', dtype=jnp.bfloat16)
  losses = []
  for made in (
    _parts('kd+icd'),
    support.parts('kd+icd', student=narrow, teacher=teacher),
  ):
    state, metrics = _step(made, support.first_state(made))
    for leaf in jax.tree.leaves((state.params, state.batch_stats)):
      assert leaf.dtype == jnp.float32
    assert metrics['loss'].dtype == jnp.float32
    losses.append(float(metrics['loss']))
  assert losses[0] != losses[1]
  assert losses[1] == pytest.approx(losses[0], rel=2e-2)


def test_gradients_of_terms_are_added_in_float32():
  narrow = support.network(dtype=jnp.bfloat16)
  made = support.parts('kd', student=narrow)
  step = functools.partial(train_step, parts=made)
  text = str(
    jax.make_jaxpr(step)(
      support.first_state(made),
      support.teacher_variables(made),
      support.first_batch(),
    )
  )
  shape = f'[{support.BATCH},{support.CLASSES}]'
  assert f'f32{shape} = add_any' in text
  assert f'bf16{shape} = add_any' not in text


def test_step_depends_on_seed_and_step_only():
  made = _parts('kd')
  state = support.first_state(made)
  support.identical(_step(made, state), _step(made, state))
  later = dataclasses.replace(state, step=state.step + 1)
  assert float(_step(made, later)[1]['loss']) != float(
    _step(made, state)[1]['loss']
  )
