"""FCFD in the training step: paths, gradients and statistics."""

import dataclasses
import functools
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kdjax import models
from kdjax.methods import Fcfd, create, fcfd_observe
from kdjax.methods.base import TrainSpec
from kdjax.methods.fcfd_paths import candidates, draw
from kdjax.models.resnet import ResNet
from kdjax.models.vit import VisionTransformer
from kdjax.runtime.mesh import first_devices
from kdjax.tasks import SingleLabel
from kdjax.train import Parts, Recipe, init_state, train_step
from kdjax.train.forward import evaluation_pass
from tests.train import support

pytestmark = pytest.mark.slow  # every test compiles a step

CLASSES, SHAPE, BATCH = 5, (8, 8, 3), 16
KEY = jax.random.key(0)
DATA = TrainSpec(BATCH, np.zeros(BATCH, np.int32), CLASSES)
WEIGHTS = {'feature_weight': 0.5, 'warmup_epochs': 0}


def _network(name, blocks, dtype=jnp.float32):
  module = ResNet(
    num_classes=CLASSES,
    blocks=blocks,
    widths=(4, 6, 8),
    stem_width=4,
    dtype=dtype,
  )
  return models.linen_network(module, name=name)


def _parts(method, dtype=jnp.float32, **recipe):
  student = _network('student', (1, 1, 1), dtype)
  return Parts(
    student=student,
    teacher=_network('teacher', (1, 2, 1), dtype),
    method=method,
    task=SingleLabel(),
    augment=lambda key, batch: batch,
    optimizer=Recipe(nesterov=True, **recipe).optimizer(4, student, method),
    steps_per_epoch=4,
  )


@functools.cache
def _teacher():
  return _network('teacher', (1, 2, 1)).initialize(jax.random.key(9), SHAPE)


def _state(parts):
  key = jax.random.key(0)
  return init_state(parts, key, SHAPE, BATCH, _teacher(), DATA)


@functools.cache
def _batch():
  keys = jax.random.split(jax.random.key(3))
  return {
    'image': jax.random.uniform(keys[0], (BATCH, *SHAPE)),
    'label': jax.random.randint(keys[1], (BATCH,), 0, CLASSES),
    'index': jnp.arange(BATCH),
  }


@functools.cache
def _compiled(method):
  parts = _parts(method)
  return parts, jax.jit(functools.partial(train_step, parts=parts))


def _step(method, state=None):
  parts, run = _compiled(method)
  state = _state(parts) if state is None else state
  return run(state, _teacher(), _batch())


SAMPLED = Fcfd(**WEIGHTS)
FORCED = Fcfd(**WEIGHTS, paths=('0011', '1100'))
NONE = Fcfd(**WEIGHTS, directions='nomix')


def _momentum(state):
  return optax.tree.get(state.opt_state, 'trace')


@functools.cache
def _run_steps(method, steps=6):
  """Returns the states and metrics of several steps."""
  states, metrics = [_state(_compiled(method)[0])], []
  for _ in range(steps):
    state, reported = _step(method, states[-1])
    states.append(state)
    metrics.append(reported)
  return states, metrics


def _changed(states, direction, stage):
  """Returns for each step whether a bridge's parameters changed."""
  kernels = [
    np.asarray(state.params['method'][direction][stage]['conv']['kernel'])
    for state in states
  ]
  return [bool(np.any(a != b)) for a, b in itertools.pairwise(kernels)]


def test_sampled_step_uses_two_paths():
  states, metrics = _run_steps(SAMPLED)
  for before, after, reported in zip(states, states[1:], metrics):
    names = ('terms/function', 'terms/function_t2s')
    into_teacher, into_student = (float(reported[name]) for name in names)
    moved = sum(
      _changed([before, after], 'to_student', f'stage_{i}')[0] for i in (1, 2)
    )
    assert (into_student > 0) == (moved > 0)
    assert (into_teacher > 0) == (moved < 2)
  draws = {
    tuple(_changed([a, b], 'to_student', f'stage_{i}')[0] for i in (1, 2))
    for a, b in itertools.pairwise(states)
  }
  assert len(draws) > 1  # not the same paths in every step


def test_unsampled_bridge_keeps_value_and_momentum():
  states, _ = _run_steps(SAMPLED)
  rested = coasting = 0
  for before, after in itertools.pairwise(states):
    for stage in ('stage_1', 'stage_2', 'stage_3'):
      if not _changed([before, after], 'to_student', stage)[0]:
        rested += 1
        for tree in (
          lambda state: state.params['method'],
          lambda state: _momentum(state)['method'],
          lambda state: state.method_state,
        ):
          support.identical(
            tree(before)['to_student'][stage], tree(after)['to_student'][stage]
          )
        trace = _momentum(after)['method']['to_student'][stage]
        coasting += bool(np.any(trace['conv']['kernel']))
      assert all(_changed([before, after], 'to_teacher', stage))
  assert rested > len(states)  # includes that of the last stage in every step
  assert coasting  # one of them had momentum


def test_teacher_statistics_change_but_not_its_parameters():
  states, _ = _run_steps(SAMPLED)
  assert set(states[-1].params) == {'student', 'method'}
  first, last = states[0].teacher_stats, states[-1].teacher_stats
  changed = jax.tree.map(lambda a, b: bool(np.any(a != b)), first, last)
  assert all(jax.tree.leaves(changed))


@pytest.mark.parametrize('method', [SAMPLED, FORCED])
def test_paths_do_not_change_running_statistics(method):
  # In a step without paths only the passes of the networks update them.
  pure, _ = _step(NONE)
  mixed, _ = _step(method)
  support.identical(pure.batch_stats, mixed.batch_stats)
  support.identical(pure.teacher_stats, mixed.teacher_stats)
  support.identical(
    pure.method_state['to_teacher'], mixed.method_state['to_teacher']
  )


def _loss(method, state):
  return float(_step(method, state)[1]['loss'])


def test_terms_of_paths_are_additive():
  state = _run_steps(SAMPLED)[0][3]
  alone = {
    path: _loss(Fcfd(**WEIGHTS, paths=(path,)), state)
    for path in ('0011', '1100', '1110')
  }
  none = _loss(NONE, state)
  for pair in (('0011', '1100'), ('1100', '1110')):
    both = _loss(Fcfd(**WEIGHTS, paths=pair), state)
    expected = alone[pair[0]] + alone[pair[1]] - none
    assert both == pytest.approx(expected, rel=1e-6)


def _key_that_draws(state, wanted):
  """Returns a state whose next step draws exactly these paths."""
  for seed in range(200):
    key = jax.random.key(seed)
    tried = dataclasses.replace(state, key=key)
    step_key = jax.random.fold_in(key, state.step)
    _, method_key = jax.random.split(step_key)
    drawn = draw(method_key, candidates(4, 'bi'), 2)
    if {path.name for path, on in drawn.items() if on} == wanted:
      return tried
  raise AssertionError('no key draws these')


def test_sampled_paths_match_forced_paths():
  # The update is the same for conditional and unconditional paths.
  state = _key_that_draws(_state(_compiled(SAMPLED)[0]), {'0011', '1100'})
  sampled, _ = _step(SAMPLED, state)
  forced, _ = _step(FORCED, state)
  support.close(sampled.params, forced.params, 1e-6)
  support.close(sampled.method_state, forced.method_state, 1e-6)


@pytest.mark.parametrize('count', [2, 8])
def test_step_is_the_same_on_several_devices(count):
  parts = _parts(SAMPLED)
  devices = first_devices(count)
  state, teacher = devices.replicate((_state(parts), _teacher()))
  step = jax.jit(
    lambda state, teacher, batch: devices.gather(
      train_step(state, teacher, devices.split(batch), parts=parts)
    )
  )
  after, metrics = step(state, teacher, devices.replicate(_batch()))
  alone, reported = _step(SAMPLED)
  support.close(after.params, alone.params, 2e-5)
  support.close(after.method_state, alone.method_state, 2e-5)
  support.close(metrics, reported, 1e-5)


@pytest.mark.parametrize('other', ['kd2m', 'icd'])
def test_terms_keep_their_names_in_combinations(other):
  method = create(f'fcfd+{other}')
  _, metrics = _step(method)
  names = {name for name in metrics if name.startswith('terms/')}
  own = {'kd', 'appearance', 'function', 'function_t2s'}
  assert names == {f'terms/{name}' for name in {'task', other, *own}}
  total = sum(float(metrics[name]) for name in names)
  assert float(metrics['loss']) == pytest.approx(total, rel=1e-6)


def test_bfloat16_terms_are_float32_and_close():
  parts = _parts(FORCED, jnp.bfloat16)
  step = jax.jit(functools.partial(train_step, parts=parts))
  after, metrics = step(_state(parts), _teacher(), _batch())
  assert {leaf.dtype for leaf in jax.tree.leaves(metrics)} == {
    jnp.dtype(jnp.float32)
  }
  assert {leaf.dtype for leaf in jax.tree.leaves(after.params)} == {
    jnp.dtype(jnp.float32)
  }
  _, exact = _step(FORCED)
  for name, value in exact.items():
    if name.startswith('terms/'):
      assert float(metrics[name]) == pytest.approx(float(value), rel=0.1)


def test_branches_have_convolutions_in_the_fast_layout():
  # XLA's CPU compiler changes only layouts in the entry computation. Images
  # have 16 pixels because XLA swaps maps with kernels that are larger.
  parts = _parts(SAMPLED)
  shape = (16, 16, 3)
  state = init_state(parts, KEY, shape, BATCH, _teacher(), DATA)
  batch = {**_batch(), 'image': jnp.zeros((BATCH, *shape))}
  step = jax.jit(functools.partial(train_step, parts=parts))
  text = step.lower(state, _teacher(), batch).compile().as_text()
  orders = set(re.findall(r'dim_labels=(\w+_\w+->\w+)', text))
  assert orders == {'b01f_01io->b01f'}
  assert text.count(' conditional(') >= 4


def test_vision_transformer_teaches_a_residual_network():
  shape = (16, 16, 3)
  small = ResNet(
    num_classes=CLASSES, blocks=(1, 1, 1, 1), widths=(4, 4, 8, 8), stem_width=4
  )
  large = VisionTransformer(
    num_classes=CLASSES, width=12, heads=2, depth=4, patch=4
  )
  parts = dataclasses.replace(
    _parts(Fcfd(**WEIGHTS, paths=('11000', '00011'))),
    student=models.linen_network(small, name='small'),
    teacher=models.linen_network(large, name='large'),
  )
  teacher = parts.teacher.initialize(KEY, shape)
  state = init_state(parts, KEY, shape, BATCH, teacher, DATA)
  batch = {**_batch(), 'image': jax.random.uniform(KEY, (BATCH, *shape))}
  after, metrics = jax.jit(functools.partial(train_step, parts=parts))(
    state, teacher, batch
  )
  terms = [v for name, v in metrics.items() if name.startswith('terms/')]
  assert len(terms) == 5
  assert all(float(value) > 0 for value in terms)
  assert np.isfinite(float(metrics['loss']))
  moved = jax.tree.map(
    lambda a, b: bool(np.any(a != b)), state.params, after.params
  )
  used = moved['method']['to_student'].pop('stage_2')
  assert all(jax.tree.leaves((used, moved['method']['to_teacher'])))
  assert not any(jax.tree.leaves(moved['method']['to_student']))
  assert all(jax.tree.leaves(moved['student']))


def test_observed_gaps_are_zero_for_the_teacher_as_student():
  # Bridges that are the identity.
  network = _network('teacher', (1, 2, 1))
  variables = _teacher()
  spec = network.describe(SHAPE)
  drawn = NONE.init(jax.random.key(0), spec, spec, DATA)

  def identity(kernel):
    return jnp.zeros_like(kernel).at[1, 1].set(jnp.eye(*kernel.shape[2:]))

  params = drawn['params']
  params['to_teacher'] = {
    stage: {
      'conv': {'kernel': identity(bridge['conv']['kernel'])},
      'norm': {
        'scale': jnp.full_like(bridge['norm']['scale'], (1 + 1e-5) ** 0.5),
        'bias': bridge['norm']['bias'],
      },
    }
    for stage, bridge in params['to_teacher'].items()
  }
  one = evaluation_pass(network, variables, _batch()['image'])
  found = jax.jit(NONE.observe)({**drawn, 'params': params}, one, one, {})
  for name, value in found['function_gap'].items():
    assert float(value) < 1e-6, name
  for stage in (1, 2, 3):
    random, steepest = (
      float(found['anisotropy'][f'stage_{stage}.{name}'])
      for name in ('random', 'steepest')
    )
    assert steepest > random > 0


def test_zero_error_has_zero_effect_for_many_images():
  # More images than are used, and a teacher that normalizes with the batch.
  network = _network('teacher', (1, 2, 1))
  images = jax.random.uniform(KEY, (80, *SHAPE))

  @jax.jit
  def found(variables):
    teacher = evaluation_pass(network, variables, images, train=True)
    return fcfd_observe.anisotropy({2: teacher.features.boundaries[2]}, teacher)

  bars = found(_teacher())
  assert float(bars['stage_2.student']) == pytest.approx(0, abs=1e-6)
  assert 0 < float(bars['stage_2.random']) < float(bars['stage_2.steepest'])
