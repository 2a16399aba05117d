import dataclasses
import functools
from unittest import mock

import jax
import numpy as np
import pytest

from kdjax.data import ColorJitter
from kdjax.runtime.mesh import first_devices
from kdjax.runtime.signals import Interrupted
from kdjax.tasks import MultiLabel
from kdjax.train import (
  DivergedError,
  Frozen,
  Program,
  Recipe,
  StreamedEpochs,
  train_step,
)
from kdjax.train.streamed_evaluate import without_counts
from tests.data import streams
from tests.train import support

pytestmark = pytest.mark.optimized

# Two batches of four per epoch; the two remaining images begin the next one.
RECIPE = Recipe(epochs=3, batch_size=4)
STEPS = 2
BROKEN = {'broken': (1, 6), 'broken_images': 'skip'}


@functools.cache
def _epochs(devices=1, recipe=RECIPE):
  parts = support.parts('kd', recipe)
  parts = dataclasses.replace(
    parts,
    task=MultiLabel(),
    augment=ColorJitter(),
    optimizer=recipe.optimizer(STEPS, parts.student, parts.method),
    steps_per_epoch=STEPS,
  )
  program = Program(
    parts=parts,
    devices=first_devices(devices),
    train=streams.split(10, **BROKEN),
    batch_size=4,
    num_classes=len(streams.CLASSES),
    wrappers=recipe.wrappers(STEPS),
  )
  return StreamedEpochs(program)


@functools.cache
def _teacher(made):
  program = made.program
  teacher = program.parts.teacher
  return teacher.initialize(jax.random.key(9), program.image_shape)


def _start(made):
  program, devices = made.program, made.program.devices
  frozen = Frozen(teacher=devices.replicate(_teacher(made)))
  state = program.init_state(jax.random.key(0), _teacher(made))
  carry = made.first_carry(program.with_averages(state), frozen)
  return carry, frozen, devices.replicate(jax.random.key(7))


def _advance(made, stops):
  carry, frozen, key = _start(made)
  for stop in stops:
    carry = support.advance(made, carry, frozen, key, stop)
  made.close()
  return support.numbers(carry)


@pytest.mark.slow
def test_streamed_steps_match_train_step():
  made = _epochs()
  carry, frozen, key = _start(made)
  state = carry.state
  stream = made.train_data.shuffled(int(jax.random.bits(key)), 4)
  step = jax.jit(functools.partial(train_step, parts=made.program.parts))
  for _ in range(STEPS):
    batch, _ = without_counts(next(stream))
    state, _ = step(state, frozen.teacher, batch)
  stream.close()
  got = _advance(made, [STEPS])
  support.close(got.state, state, 1e-5)
  assert got.sums['examples'] == 8
  # Reads include the broken images; eight images were decoded.
  assert got.read['images_read'] == got.read['images_skipped'] + 8


@pytest.mark.slow
def test_dispatch_sizes_give_identical_bits():
  made = _epochs()
  support.identical(_advance(made, [1, 2, 4]), _advance(made, [2, 3, 4]))
  assert made.compilations() == 1


@pytest.mark.slow
@pytest.mark.parametrize('devices', [2, 8])
def test_step_is_the_same_on_any_number_of_devices(devices):
  # Two devices divide the batch of four, eight do not.
  one, many = (_advance(_epochs(count), [1]) for count in (1, devices))
  support.close(many, one, 1e-5)


def _run(folder, made=None, **changes):
  made = made or _epochs()
  settings = {
    'recipe': RECIPE,
    'test': streams.split(7, broken=(3,), broken_images='skip'),
    'teacher_variables': _teacher(made),
  }
  return support.run(folder, made, **{**settings, **changes})


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  made = _run(tmp_path_factory.mktemp('whole'))
  support.train(made)
  return made.folder


def _results(folder):
  with np.load(folder / 'features.npz') as stored:
    features = dict(stored)
  # Speeds depend on the machine and the process.
  lines = [line for line in support.lines(folder) if line['kind'] != 'speed']
  return lines, features, support.stored(_epochs(), folder)


@pytest.mark.parametrize('looks', [0, 1, 3])
def test_resumed_run_is_bit_identical(whole, tmp_path, looks):
  with pytest.raises(Interrupted):
    support.train(_run(tmp_path), support.StopAfter(looks))
  support.train(_run(tmp_path))
  got, want = _results(tmp_path), _results(whole)
  assert got[0] == want[0]
  support.identical(got[1:], want[1:])


@pytest.mark.slow
def test_average_of_the_last_epochs_is_saved(tmp_path):
  recipe = dataclasses.replace(RECIPE, average_last=2)
  made = _epochs(recipe=recipe)
  weights, advance = [], made.advance

  def noting(*args):
    carry = advance(*args)
    if int(carry.state.step) in (4, 6):
      weights.append(support.numbers(carry.state.student_variables))
    return carry

  run = _run(tmp_path, made, recipe=recipe)
  with mock.patch.object(made, 'advance', noting):
    support.train(run)
  average = support.stored(made, tmp_path, 'student_average')
  mean = jax.tree.map(lambda first, last: (first + last) / 2, *weights)
  support.close(average, mean, 1e-6)


def test_skipped_images_are_logged_and_not_evaluated(whole):
  lines, features, _ = _results(whole)
  trained = [line for line in lines if line['kind'] == 'train']
  assert trained[-1]['images_read'] - trained[-1]['images_skipped'] == 3 * 8
  assert trained[-1]['images_skipped'] >= 2  # while 24 were decoded
  assert MultiLabel.score in lines[-1]
  # Only decodable test images are evaluated, with their labels.
  want = streams.split(7).labels[[0, 1, 2, 4, 5, 6]]
  np.testing.assert_array_equal(features['labels'], want)
  assert len(features['embedding']) == 6


@pytest.mark.slow
def test_non_finite_loss_is_reported_with_its_step(tmp_path):
  hot = dataclasses.replace(RECIPE, learning_rate=1e30)
  run = _run(tmp_path, _epochs(recipe=hot), recipe=hot, test=streams.split(3))
  with pytest.raises(DivergedError, match='at step 1 '):
    support.train(run)


@pytest.mark.slow
def test_teacher_pass_skips_broken_images():
  made = _epochs(2)
  _, frozen, _ = _start(made)

  def read(features, batch):
    return {'logits': features.logits, **batch}

  walk = list(
    made.evaluator.walk(
      frozen.teacher, made.train_data, read, check=lambda: None
    )
  )
  seen = jax.tree.map(lambda *rows: np.concatenate(rows), *walk)
  index = seen['index']
  np.testing.assert_array_equal(index, [0, 2, 3, 4, 5, 7, 8, 9])
  assert len(seen['logits']) == len(seen['image']) == len(seen['label']) == 8
  levels = seen['image'][:, 0, 0, 0]
  np.testing.assert_allclose(levels, 10 * index / 255, rtol=1e-6)


def test_test_split_of_broken_images_only_raises_an_error(tmp_path):
  test = streams.split(3, broken=(0, 1, 2), broken_images='skip')
  with pytest.raises(ValueError, match='none of 3 images can be decoded'):
    support.train(_run(tmp_path, test=test))


def test_broken_test_image_raises_an_error_with_its_name(tmp_path):
  with pytest.raises(ValueError, match='cannot decode image 2'):
    support.train(_run(tmp_path, test=streams.split(4, broken=(2,))))


def test_stop_request_interrupts_a_teacher_pass_within_one_batch():
  made, batches = _epochs(), []

  class Stop(Exception):
    pass

  def check():
    if len(batches) == 1:
      raise Stop

  walk = made.evaluator.walk(
    _teacher(made), made.train_data, lambda features, batch: {}, check
  )

  def collect():
    for batch in walk:
      batches.append(batch)

  with pytest.raises(Stop):
    collect()
  assert len(batches) == 1
