"""LSHFM in a run: its planes, its two layers, and the student that leaves."""

import dataclasses

import jax
import numpy as np
import pytest

from kdjax.methods import Lshfm
from kdjax.runtime import checkpoints as checkpoints_lib
from kdjax.runtime import files
from kdjax.runtime.mesh import first_devices
from kdjax.runtime.signals import Interrupted
from kdjax.train import Recipe
from tests.train import support
from tests.train.test_run import StopAfter

pytestmark = pytest.mark.slow  # every test trains

RECIPE = Recipe(epochs=3, batch_size=support.BATCH, average_last=2)


def _program(devices=1):
  method = Lshfm(hashes=20, weight=1.0)
  teacher = support.network('teacher', width=9)
  parts = support.parts(method, RECIPE, teacher=teacher)
  parts = dataclasses.replace(parts, snapshots=True)
  return support.program(parts, first_devices(devices))


@pytest.fixture(scope='module')
def program():
  return _program()


@pytest.fixture(scope='module')
def whole(program, tmp_path_factory):
  """The folder of a run that was never stopped."""
  made = support.run(tmp_path_factory.mktemp('whole'), program, recipe=RECIPE)
  support.train(made)
  return made.folder


def _stored(program, folder, name='student'):
  like = program.parts.student.describe(support.IMAGE_SHAPE).variables
  return checkpoints_lib.load_variables(folder / name, like)


@pytest.mark.parametrize(
  ('name', 'score'),
  [('student', 'correct'), ('student_average', 'average_correct')],
)
def test_the_plain_student_is_right_where_the_run_says_so(
  program, whole, name, score
):
  variables = _stored(program, whole, name)
  test = support.dataset().test
  features, _ = program.parts.student.apply(
    variables, test.images / np.float32(255), train=False
  )
  right = np.argmax(features.logits, -1) == test.labels
  assert files.read_lines(whole / 'metrics.jsonl')[-1][score] == right.sum()


def test_its_classifier_is_the_two_layers_and_not_its_own(program, whole):
  made = support.run(whole, program, recipe=RECIPE)
  first = made._init()
  own = first.params['student']['head']['kernel']
  assert np.any(_stored(program, whole)['params']['head']['kernel'] != own)
  merged = program.exported(first)
  features, _ = program.parts.student.apply(
    merged, support.first_batch()['image'] / 255.0, train=False
  )
  layers = first.params['method']
  rows = features.embedding
  for layer in ('embedding', 'classifier'):
    rows = rows @ layers[layer]['kernel'] + layers[layer]['bias']
  np.testing.assert_allclose(features.logits, rows, atol=1e-5)


def test_the_planes_are_the_teachers_and_last_through_a_resume(
  program, whole, tmp_path
):
  made = support.run(tmp_path, program, recipe=RECIPE)
  state = made._init()
  kernel = program.parts.teacher.classifier(made.teacher_variables).kernel
  spread = np.std(np.asarray(kernel), ddof=1)
  assert float(state.method_state['kernel'].std()) == pytest.approx(
    spread, rel=0.2
  )
  with pytest.raises(Interrupted):
    support.train(made, StopAfter(2))
  support.train(support.run(tmp_path, program, recipe=RECIPE))
  for name in ('student', 'student_average'):
    support.identical(
      _stored(program, tmp_path, name), _stored(program, whole, name)
    )


def test_the_students_own_classifier_keeps_its_first_weights(program):
  carry, teacher, key = support.start(program)
  before = support.numbers(carry[0].params['student'])
  carry = support.advance(program, carry, teacher, key, 3)
  after = support.numbers(carry[0].params['student'])
  support.identical(before['head'], after['head'])
  assert np.any(before['hidden']['kernel'] != after['hidden']['kernel'])


@pytest.mark.slow
@pytest.mark.parametrize('devices', [2, 8])
def test_several_devices_are_as_one(program, devices):
  ends = []
  for made in (program, _program(devices)):
    carry, teacher, key = support.start(made)
    carry = support.advance(made, carry, teacher, key, 3)
    ends.append(jax.device_get(carry[0].params))
  support.close(*ends, 1e-4)
