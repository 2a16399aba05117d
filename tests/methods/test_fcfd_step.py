"""FCFD's losses of one batch, worked out again in NumPy for linear networks.

Stage i of either network multiplies its input by a number, so that all that a
path passes besides its bridge is known by hand.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.features import Features
from kdjax.methods import Fcfd, Pass
from kdjax.methods.fcfd_paths import Path
from kdjax.methods.fcfd_step import Step
from tests.methods import support

STAGES, BATCH, CLASSES, T = 4, 3, 4, 2.0
SHAPE = (BATCH, 2, 2, 3)
INTO_TEACHER, INTO_STUDENT = Path(1, True, STAGES), Path(1, False, STAGES)
# Those of epoch 1: 50 (1 + 1) / 20 and 0.5.
WEIGHTS = {'features': 5.0, 'mixed': 0.5}
METHOD = Fcfd(
  kd_weight=((1, 3.0),),
  feature_weight=50.0,
  mixed_weight=0.5,
  temperature=7.0,
  mixed_temperature=T,
  warmup_epochs=20,
  paths=(INTO_TEACHER.name, INTO_STUDENT.name),
)


def _network(seed: int) -> dict[str, Any]:
  """Gains of the stages, a classifier, and features of a batch."""
  rng = np.random.default_rng(seed)
  first = rng.normal(size=SHAPE)
  gains = rng.uniform(0.5, 2.0, STAGES)
  head = rng.normal(size=(SHAPE[-1], CLASSES))
  return {
    'variables': {'params': {'gains': gains, 'head': head}},
    'boundaries': [first * gains[: i + 1].prod() for i in range(STAGES)],
  }


def _tail(variables, hidden, start: int, numpy=jnp) -> Features:
  """The stages from `start` on; in NumPy or JAX."""
  gains, head = variables['params']['gains'], variables['params']['head']
  boundaries = [None] * start
  for gain in gains[start:]:
    hidden = hidden * gain
    boundaries.append(hidden)
  embedding = numpy.maximum(hidden, 0).mean((1, 2))
  maps = tuple(boundaries)
  return Features(maps, maps, maps, embedding, embedding @ head)


def _no_head(variables, embedding):
  raise AssertionError('FCFD does not classify an embedding alone')


def _pass(network) -> Pass:
  last = _tail(network['variables'], network['boundaries'][-1], STAGES)
  maps = tuple(network['boundaries'])
  features = Features(maps, maps, maps, last.embedding, last.logits)
  return Pass(features, network['variables'], _tail, run_head=_no_head)


def _bridges() -> Any:
  shapes = tuple(
    jax.ShapeDtypeStruct((1, *SHAPE[1:]), jnp.float32) for _ in range(STAGES)
  )
  spec = support.spec(3)
  rows = spec.features
  features = Features(shapes, shapes, shapes, rows.embedding, rows.logits)
  spec = dataclasses.replace(spec, features=features)
  return METHOD.init(jax.random.key(0), spec, spec, support.DATA)


def _losses(arrays, weights):
  """Each loss of the step, and the translated features."""
  step = Step(
    arrays['bridges'],
    _pass(arrays['student']),
    _pass(arrays['teacher']),
    weights,
    temperature=T,
  )
  translated, _ = step.translate()
  hidden, _ = step.bridge(
    1,
    False,
    step.params['to_student']['stage_1'],
    arrays['teacher']['boundaries'][1],
  )
  losses = {
    'appearance': step.appearance(translated),
    'into_teacher': step.into_teacher(INTO_TEACHER, True, translated),
    'into_student': step.into_student(INTO_STUDENT, True)[0],
  }
  return losses, (translated[1:], hidden)


@pytest.fixture(scope='module')
def case():
  """Arrays, losses, features on the way, gradients, and the method's terms."""
  arrays: Any = {'student': _network(1), 'teacher': _network(2)}
  arrays = {**jax.tree.map(np.float32, arrays), 'bridges': _bridges()}

  @jax.jit
  def run(arrays):
    run_one = functools.partial(_losses, weights=WEIGHTS)
    losses, pullback, others = jax.vjp(run_one, arrays, has_aux=True)
    zeros = dict.fromkeys(losses, jnp.zeros(()))
    gradients = {
      name: pullback({**zeros, name: jnp.ones(())})[0] for name in losses
    }
    pair = _pass(arrays['student']), _pass(arrays['teacher'])
    given = support.context(epoch=1)
    terms, updates = METHOD.terms(arrays['bridges'], *pair, {}, given)
    return losses, others, gradients, (terms, updates.active)

  jax.config.update('jax_disable_most_optimizations', True)
  results = jax.device_get(run(arrays))
  jax.config.update('jax_disable_most_optimizations', False)
  return arrays, *results


def _distance(a, b) -> float:
  return float(np.mean((a - b) ** 2))


def _divergence(logits, targets, temperature=T) -> float:
  """T² times the mean divergence of softened probabilities."""
  exponentials = (np.exp(x / temperature) for x in (targets, logits))
  p, q = (x / x.sum(1)[:, None] for x in exponentials)
  return float(temperature**2 * (p * np.log(p / q)).sum(1).mean())


def _targets(teacher) -> Features:
  return _tail(teacher['variables'], teacher['boundaries'][-1], STAGES, np)


def test_appearance_is_the_distance_in_the_teachers_space(case):
  arrays, losses, (translated, _), *_ = case
  teacher = arrays['teacher']
  want = sum(map(_distance, translated, teacher['boundaries'][1:]))
  pooled = np.maximum(translated[-1], 0).mean((1, 2))
  want += _distance(pooled, _targets(teacher).embedding)
  np.testing.assert_allclose(losses['appearance'], 5.0 * want, rtol=1e-5)


def test_a_path_into_the_teacher_runs_its_later_stages(case):
  arrays, losses, (translated, _), *_ = case
  teacher, targets = arrays['teacher'], _targets(arrays['teacher'])
  passed = _tail(teacher['variables'], translated[0], 2, np)
  features = sum(
    _distance(passed.boundaries[i], teacher['boundaries'][i]) for i in (2, 3)
  )
  features += _distance(passed.embedding, targets.embedding)
  soft = _divergence(passed.logits, targets.logits)
  np.testing.assert_allclose(
    losses['into_teacher'], 5.0 * features + 0.5 * soft, rtol=1e-5
  )


def test_a_path_into_the_student_has_soft_targets_only(case):
  arrays, losses, (_, hidden), *_ = case
  passed = _tail(arrays['student']['variables'], hidden, 2, np)
  soft = _divergence(passed.logits, _targets(arrays['teacher']).logits)
  np.testing.assert_allclose(losses['into_student'], 0.5 * soft, rtol=1e-5)


def _size(tree) -> float:
  return max((float(np.abs(x).max()) for x in jax.tree.leaves(tree)), default=0)


@pytest.mark.parametrize('name', ['appearance', 'into_teacher', 'into_student'])
def test_targets_are_constants(case, name):
  _, _, _, gradients, _ = case
  # The later stages of the teacher are weights that nobody trains.
  assert _size(gradients[name]['teacher']['boundaries']) == 0


def test_gradients_flow_into_the_first_network_and_the_bridge(case):
  _, _, _, gradients, _ = case
  student = {name: gradients[name]['student'] for name in gradients}
  bridges = {name: gradients[name]['bridges']['params'] for name in gradients}
  for name, stages in (('appearance', (1, 2, 3)), ('into_teacher', (1,))):
    for i in range(1, STAGES):
      key = f'stage_{i}'
      assert (_size(student[name]['boundaries'][i]) > 0) == (i in stages)
      assert (_size(bridges[name]['to_teacher'][key]) > 0) == (i in stages)
    assert _size(student[name]['variables']) == 0
    assert _size(bridges[name]['to_student']) == 0
  # From the teacher: the student's later stages learn, its features do not.
  assert _size(student['into_student']['boundaries']) == 0
  gains = student['into_student']['variables']['params']['gains']
  np.testing.assert_array_equal(gains != 0, [False, False, True, True])
  assert _size(bridges['into_student']['to_student']['stage_1']) > 0
  assert _size(bridges['into_student']['to_teacher']) == 0


def test_the_terms_are_these_losses_with_the_weights_of_the_epoch(case):
  arrays, losses, _, _, (terms, active) = case
  for name, loss in (
    ('appearance', 'appearance'),
    ('function', 'into_teacher'),
    ('function_t2s', 'into_student'),
  ):
    np.testing.assert_allclose(terms[name], losses[loss], rtol=1e-5)
  logits, targets = (
    _tail(
      arrays[name]['variables'], arrays[name]['boundaries'][-1], STAGES, np
    ).logits
    for name in ('student', 'teacher')
  )
  want = 3 * _divergence(logits, targets, 7.0)
  np.testing.assert_allclose(terms['kd'], want, rtol=1e-4)
  assert active['to_teacher']
  assert active['to_student'] == {
    'stage_1': True,
    'stage_2': False,
    'stage_3': False,
  }
