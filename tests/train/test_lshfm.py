"""LSHFM in a run: planes, two layers and the exported student."""

import jax
import numpy as np
import pytest

from kdjax.methods import Lshfm
from kdjax.runtime import files
from kdjax.runtime.mesh import first_devices
from kdjax.train import Recipe
from tests.train import support

pytestmark = pytest.mark.slow  # every test trains

RECIPE = Recipe(epochs=3, batch_size=support.BATCH, average_last=2)


def _epochs(devices=1):
  method = Lshfm(hashes=20, weight=1.0)
  teacher = support.network('teacher', width=9)
  parts = support.parts(method, RECIPE, teacher=teacher)
  return support.epochs(parts, first_devices(devices), RECIPE)


@pytest.fixture(scope='module')
def epochs():
  return _epochs()


@pytest.fixture(scope='module')
def whole(epochs, tmp_path_factory):
  """Folder of an uninterrupted run."""
  made = support.run(tmp_path_factory.mktemp('whole'), epochs, recipe=RECIPE)
  support.train(made)
  return made.folder


@pytest.mark.parametrize(
  ('name', 'score'),
  [('student', 'correct'), ('student_average', 'average_correct')],
)
def test_exported_student_has_the_logged_score(epochs, whole, name, score):
  variables = support.stored(epochs, whole, name)
  test = support.dataset().test
  features, _ = epochs.program.parts.student.apply(
    variables, test.images / np.float32(255), train=False
  )
  right = np.argmax(features.logits, -1) == test.labels
  assert files.read_lines(whole / 'metrics.jsonl')[-1][score] == right.sum()


def test_exported_classifier_is_the_product_of_two_layers(
  epochs, whole, tmp_path
):
  run = support.run(tmp_path, epochs, recipe=RECIPE)
  first, parts = support.first_carry(run).state, epochs.program.parts
  own = first.params['student']['head']['kernel']
  last = support.stored(epochs, whole)['params']['head']['kernel']
  assert np.any(last != own)
  _, merged = parts.method.export(
    first.method_variables,
    (parts.student, first.student_variables),
    (parts.teacher, run.teacher_variables),
  )
  features, _ = parts.student.apply(
    merged, support.first_batch()['image'] / 255.0, train=False
  )
  layers = first.params['method']
  rows = features.embedding
  for layer in ('embedding', 'classifier'):
    rows = rows @ layers[layer]['kernel'] + layers[layer]['bias']
  np.testing.assert_allclose(features.logits, rows, atol=1e-5)


def test_planes_are_fitted_to_the_teacher_and_restored(epochs, whole, tmp_path):
  made = support.run(tmp_path, epochs, recipe=RECIPE)
  state = support.first_carry(made).state
  kernel = epochs.program.parts.teacher.classifier(
    made.teacher_variables
  ).kernel
  deviation = np.std(np.asarray(kernel), ddof=1)
  assert float(state.method_state['kernel'].std()) == pytest.approx(
    deviation, rel=0.2
  )
  support.stop_after_epoch(made, 1)
  support.train(made)
  networks = ('student', 'student_average')
  support.same_end(epochs, tmp_path, whole, networks)


def test_student_s_own_classifier_is_not_trained(epochs):
  carry, frozen, key = support.start(epochs)
  before = support.numbers(carry.state.params['student'])
  carry = support.advance(epochs, carry, frozen, key, 3)
  after = support.numbers(carry.state.params['student'])
  support.identical(before['head'], after['head'])
  assert np.any(before['hidden']['kernel'] != after['hidden']['kernel'])


@pytest.mark.slow
@pytest.mark.parametrize('devices', [2, 8])
def test_training_is_the_same_on_several_devices(epochs, devices):
  ends = []
  for made in (epochs, _epochs(devices)):
    carry, frozen, key = support.start(made)
    carry = support.advance(made, carry, frozen, key, 3)
    ends.append(jax.device_get(carry.state.params))
  support.close(*ends, 1e-4)
