import dataclasses
import functools

import jax
import numpy as np
import pytest

from kdjax.data import ColorJitter
from kdjax.runtime import checkpoints as checkpoints_lib
from kdjax.runtime import files
from kdjax.runtime.mesh import first_devices
from kdjax.runtime.signals import Interrupted
from kdjax.tasks import MultiLabel
from kdjax.train import DivergedError, Recipe, StreamedProgram, train_step
from tests.data import streams
from tests.train import support
from tests.train.test_run import StopAfter

# Two batches of four an epoch; the two that are left begin the next one.
RECIPE = Recipe(epochs=3, batch_size=4)
STEPS = 2
BROKEN = {'broken': (1, 6), 'broken_images': 'skip'}


@functools.cache
def _program(devices=1, recipe=RECIPE):
  parts = support.parts('kd')
  parts = dataclasses.replace(
    parts,
    task=MultiLabel(),
    augment=ColorJitter(),
    optimizer=recipe.optimizer(STEPS),
    steps_per_epoch=STEPS,
  )
  train = streams.split(10, **BROKEN)
  return StreamedProgram(parts, first_devices(devices), train, 4)


def _start(made):
  place = made.devices.replicate
  teacher = place(_teacher(made))
  key = jax.random.key(0)
  state = place(
    support.init_state(made.parts, key, made.image_shape, 4, teacher)
  )
  return made.first_carry(state, teacher), teacher, place(jax.random.key(7))


@functools.cache
def _teacher(made):
  return made.parts.teacher.initialize(jax.random.key(9), made.image_shape)


def _advance(made, stops):
  carry, teacher, key = _start(made)
  for stop in stops:
    carry = support.advance(made, carry, teacher, key, stop)
  made.close()
  return support.numbers(carry)


@pytest.mark.slow
def test_its_steps_are_those_of_train_step_on_the_images_in_order():
  made = _program()
  (state, _, _), teacher, key = _start(made)
  stream = made.train_data.shuffled(int(jax.random.bits(key)), 4)
  step = jax.jit(functools.partial(train_step, parts=made.parts))
  for _ in range(STEPS):
    state, _ = step(state, teacher, next(stream))
  stream.close()
  got = _advance(made, [STEPS])
  support.close(got[0], state, 1e-5)
  assert got[1]['examples'] == 8
  # The ten images of an epoch, two of them broken, are in some order.
  assert got[2]['images_read'] == got[2]['images_skipped'] + 8


@pytest.mark.slow
def test_how_many_steps_a_dispatch_does_changes_nothing():
  made = _program()
  support.identical(_advance(made, [1, 2, 4]), _advance(made, [2, 3, 4]))
  assert made.compilations() == 1


@pytest.mark.slow
@pytest.mark.parametrize('devices', [2, 8])
def test_a_step_is_the_same_on_any_number_of_devices(devices):
  # Two devices divide the batch of four, eight do not.
  one, many = (_advance(_program(count), [1]) for count in (1, devices))
  support.close(many, one, 1e-5)


def _run(folder, program=None, **changes):
  made = program or _program()
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


def _left(folder):
  like = _program().parts.student.describe(_program().image_shape).variables
  with np.load(folder / 'features.npz') as stored:
    features = dict(stored)
  lines = [
    {k: v for k, v in line.items() if not k.endswith(('seconds', 'second'))}
    for line in files.read_lines(folder / 'metrics.jsonl')
    if line['kind'] != 'speed'  # of this machine, and of one process
  ]
  weights = checkpoints_lib.load_variables(folder / 'student', like)
  return lines, features, weights


@pytest.mark.parametrize('looks', [0, 1, 3])
def test_stopped_anywhere_and_resumed_ends_with_the_same_bits(
  whole, tmp_path, looks
):
  with pytest.raises(Interrupted):
    support.train(_run(tmp_path), StopAfter(looks))
  support.train(_run(tmp_path))
  got, want = _left(tmp_path), _left(whole)
  assert got[0] == want[0]
  support.identical(got[1:], want[1:])


@pytest.mark.slow
def test_the_mean_of_the_last_epochs_is_left_as_well(tmp_path):
  parts = dataclasses.replace(_program().parts, snapshots=True)
  train = streams.split(10, **BROKEN)
  made = StreamedProgram(parts, first_devices(1), train, 4)
  seen = []
  add = made.add_snapshot

  def noting(state, factor):
    seen.append(support.numbers(state.student_variables))
    return add(state, factor)

  made.add_snapshot = noting
  recipe = dataclasses.replace(RECIPE, average_last=2)
  run = _run(tmp_path, program=made, recipe=recipe)
  support.train(run)
  like = parts.student.describe(made.image_shape).variables
  got = checkpoints_lib.load_variables(tmp_path / 'student_average', like)
  mean = jax.tree.map(lambda first, last: (first + last) / 2, *seen)
  support.close(got, mean, 1e-6)


def test_logs_how_many_images_were_left_out(whole):
  lines, features, _ = _left(whole)
  trained = [line for line in lines if line['kind'] == 'train']
  assert trained[-1]['images_read'] - trained[-1]['images_skipped'] == 3 * 8
  assert trained[-1]['images_skipped'] >= 2  # of 24 that were taken
  assert MultiLabel.score in lines[-1]
  # Of the test images those are judged that decode, with their labels.
  want = streams.split(7).labels[[0, 1, 2, 4, 5, 6]]
  np.testing.assert_array_equal(features['labels'], want)
  assert len(features['embedding']) == 6


def test_a_loss_that_is_not_finite_is_placed_at_its_step(tmp_path):
  hot = dataclasses.replace(RECIPE, learning_rate=1e30)
  made = _program(recipe=hot)
  run = support.run(
    tmp_path,
    made,
    recipe=hot,
    test=streams.split(3),
    teacher_variables=_teacher(made),
  )
  with pytest.raises(DivergedError, match='at step 1 '):
    support.train(run)


@pytest.mark.slow
def test_a_walk_of_the_teacher_leaves_out_what_does_not_decode():
  made = _program(2)
  teacher = made.devices.replicate(_teacher(made))
  walk = list(made.passes.of_teacher(teacher, made.train_data))
  index = np.concatenate([batch['index'] for _, batch in walk])
  np.testing.assert_array_equal(index, [0, 2, 3, 4, 5, 7, 8, 9])
  for features, batch in walk:
    assert len(features.logits) == len(batch['image']) == len(batch['label'])
    levels = np.asarray(batch['image'])[:, 0, 0, 0]
    np.testing.assert_allclose(levels, 10 * batch['index'] / 255, rtol=1e-6)


def test_a_test_set_of_which_nothing_decodes_is_no_set(tmp_path):
  test = streams.split(3, broken=(0, 1, 2), broken_images='skip')
  with pytest.raises(ValueError, match='none of 3 images can be decoded'):
    support.train(_run(tmp_path, test=test))


def test_a_broken_test_image_stops_the_run_with_its_name(tmp_path):
  with pytest.raises(ValueError, match='cannot decode image 2'):
    support.train(_run(tmp_path, test=streams.split(4, broken=(2,))))
