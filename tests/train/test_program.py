import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import methods
from kdjax.data import Split
from kdjax.methods import Kd2m
from kdjax.runtime.mesh import first_devices
from kdjax.train import Program, Recipe
from tests.train import support

# The weight of `kd2m` is one at which training is stable: at 1.0 three steps
# of this small network enlarge what float32 rounds twentyfold.
METHODS = {
  'none': 'none',
  'kd': 'kd',
  'kd2m': Kd2m(metric='w2', weight=0.1),
  'icd': 'icd',
  'kd+kd2m': 'kd+kd2m',
}
STEPS = 3  # of an epoch; the last has five examples


@functools.cache
def _program(name, devices):
  """Programs are stateless, so that tests can share their executables."""
  return support.program(support.parts(METHODS[name]), first_devices(devices))


def _advance(made, stops):
  """The carry after dispatches up to each of `stops`."""
  carry, teacher, key = support.start(made)
  for stop in stops:
    carry = support.advance(made, carry, teacher, key, stop)
  return carry


@functools.cache
def _epoch(name, devices):
  """State and sums after one epoch on some devices."""
  return support.numbers(_advance(_program(name, devices), [STEPS]))


@pytest.mark.parametrize(
  ('name', 'devices'),
  [
    ('none', 2),
    *(
      pytest.param(name, devices, marks=pytest.mark.slow)
      for name in METHODS
      for devices in (2, 8)
      if (name, devices) != ('none', 2)
    ),
  ],
)
def test_an_epoch_is_the_same_on_any_number_of_devices(name, devices):
  # Parameters, momentum (sums of gradients), statistics and reported sums.
  # Two and eight devices divide the batch of 8, but not the last one of 5.
  support.close(_epoch(name, 1), _epoch(name, devices), 1e-5)


def test_examples_lie_on_all_devices_while_the_batch_can_be_split():
  made = _program('none', 8)
  seen = []

  def look(batch):
    jax.debug.inspect_array_sharding(batch['image'], callback=seen.append)
    return batch

  jax.jit(lambda batch: look(made.devices.split(batch)))(support.first_batch(8))
  jax.jit(lambda batch: look(made.devices.split(batch)))(support.first_batch(5))
  assert [sharding.is_fully_replicated for sharding in seen] == [False, True]


@pytest.mark.slow
def test_a_teacher_that_is_split_over_devices_teaches_the_same():
  made = support.program(support.parts('kd'), first_devices(4, fsdp=2))
  carry, _, key = support.start(made)
  whole = support.teacher_variables(made.parts)
  teacher = made.devices.shard(whole)
  carry = support.advance(made, carry, teacher, key, STEPS)
  support.close(carry, _epoch('kd', 1), 1e-5)
  held = sum(
    leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(teacher)
  )
  assert held < 0.6 * sum(leaf.nbytes for leaf in jax.tree.leaves(whole))


def test_refuses_parts_that_do_not_divide_the_devices():
  with pytest.raises(ValueError, match=r'fsdp must divide .* got 3 and 4'):
    first_devices(4, fsdp=3)


@pytest.mark.parametrize('name', ['none', 'kd'])
def test_one_dispatch_is_bitwise_many(name):
  made = _program(name, 1)
  once = _advance(made, [STEPS])
  support.identical(once, _advance(made, [1, 2, 3]))
  support.identical(once, _advance(made, [2, 2, 3]))
  assert made.compilations() == 1


def test_a_dispatch_ends_with_its_epoch_and_the_next_one_counts_anew():
  made = _program('none', 1)
  first = _advance(made, [99])
  assert int(first[0].step) == STEPS
  assert float(first[1]['examples']) == support.TRAIN
  second = _advance(made, [99, 4])
  assert float(second[1]['examples']) == support.BATCH


def test_reports_means_over_the_examples_of_an_epoch():
  sums = _epoch('kd', 1)[1]
  assert sums['loss'] == pytest.approx(
    sums['terms/task'] + sums['terms/kd'], rel=1e-6
  )
  assert sums['terms/task'] == pytest.approx(0.1 * sums['outputs/loss'])
  right = float(sums['outputs/accuracy'])
  assert right == pytest.approx(round(right))  # a number of examples


@pytest.mark.parametrize('devices', [1, 8])
@pytest.mark.parametrize('count', [13, 300])
def test_evaluation_counts_every_example_once(count, devices):
  made = _program('none', devices)
  images, labels = support.arrays(count, 5)
  split = Split(images, labels.astype(np.int32))
  state = support.start(made)[0][0]
  found = made.passes.evaluate(state, {}, made.place(split))
  features, _ = made.parts.student.apply(
    jax.tree.map(jnp.asarray, support.numbers(state.student_variables)),
    jnp.asarray(images, jnp.float32) / 255,
    train=False,
  )
  right = np.asarray(features.logits).argmax(-1) == labels
  scores = made.parts.task.summarize(found.outputs)
  assert scores['correct'] == right.sum()
  assert scores['accuracy'] == pytest.approx(right.mean())
  np.testing.assert_allclose(found.embedding, features.embedding, atol=1e-5)
  np.testing.assert_array_equal(found.labels, labels)


def test_batches_of_a_walk_follow_each_other_on_a_cpu():
  # In flight together they could hold all threads and wait for each other.
  made = _program('kd', 8)
  teacher = made.devices.replicate(support.teacher_variables(made.parts))
  for found in made.passes.of_teacher(teacher, made.train_data):
    assert all(leaf.is_ready() for leaf in jax.tree.leaves(found))


def test_an_evaluation_is_one_dispatch_of_one_executable(monkeypatch):
  made = _program('none', 2)
  images, labels = support.arrays(900, 5)
  data = made.place(Split(images, labels.astype(np.int32)))
  state = support.start(made)[0][0]
  compiled, calls = made.passes.evaluate_batches, []

  def counted(*arguments):
    calls.append(arguments)
    return compiled(*arguments)

  before = compiled._cache_size()
  monkeypatch.setattr(made.passes, 'evaluate_batches', counted)
  for first in (None, 500):
    made.passes.evaluate(state, {}, data, first=first)
  assert len(calls) == 2
  assert compiled._cache_size() == before + 1


def test_evaluation_of_the_first_examples_is_the_start_of_the_whole():
  made = _program('none', 1)
  state = support.start(made)[0][0]
  test = made.place(support.dataset().test)
  whole = made.passes.evaluate(state, {}, test)
  few = made.passes.evaluate(state, {}, test, first=4)
  start = jax.tree.map(lambda array: array[:4], whole)
  support.identical(few, start)


@functools.cache
def _observing(devices):
  """Of a student and a teacher of one architecture."""
  recipe = Recipe(batch_size=support.BATCH, ema_decay=0.9)
  made = support.parts('kd2m', recipe)
  return support.program(made, first_devices(devices))


def _observe(made, first=8, **changes):
  (state, _), teacher, _ = support.start(made)
  state = dataclasses.replace(state, **changes)
  test = made.place(support.dataset().test)
  return made.passes.observe(state, teacher, test, first=first)


@pytest.mark.parametrize('first', [8, 13])
def test_observes_the_same_on_any_number_of_devices(first):
  one, many = (_observe(_observing(devices), first) for devices in (1, 8))
  assert one['bound']['risk_gap'] > 0
  support.close(one, many, 1e-5)


def test_observes_the_first_images_and_no_more_than_there_are():
  made = _observing(1)
  assert _observe(made, 8) != _observe(made, 13)
  assert _observe(made, 13) == _observe(made, 500)


def test_observes_the_student_that_is_evaluated():
  # Its averages are the teacher's own weights: nothing is left between them.
  made = _observing(1)
  teacher = support.teacher_variables(made.parts)
  found = _observe(
    made,
    ema={'student': teacher['params'], 'method': {}},
    batch_stats=teacher['batch_stats'],
  )
  bound = found['bound']
  assert bound['w2'] == bound['paired'] == bound['risk_gap'] == 0
  assert bound['lipschitz'] > 0


def test_a_method_that_observes_nothing_compiles_nothing_for_it():
  made = _program('kd', 1)
  assert _observe(made) == {}
  assert made.passes.look_at._cache_size() == 0


def test_what_is_not_finite_is_left_out():
  made = _observing(1)
  (state, _), _, _ = support.start(made)
  broken = jax.tree.map(lambda leaf: leaf * jnp.nan, state.ema)
  assert _observe(made, ema=broken) == {}


def test_refuses_a_batch_larger_than_the_set():
  train = support.dataset().train
  with pytest.raises(ValueError, match=r'batch of 22 .*21 images.*=21'):
    Program(support.parts(), first_devices(1), train, 22)


def test_refuses_devices_that_are_not_there():
  with pytest.raises(ValueError, match='99 devices were asked for'):
    first_devices(99)


def test_a_walk_of_the_teacher_sees_the_set_in_order():
  made = _program('kd', 2)
  teacher = made.devices.replicate(support.teacher_variables(made.parts))
  walk = list(made.passes.of_teacher(teacher, made.train_data))
  seen = np.concatenate([batch['image'] for _, batch in walk])
  images = support.dataset().train.images
  np.testing.assert_allclose(seen, images / 255, rtol=1e-6)
  index = np.concatenate([batch['index'] for _, batch in walk])
  np.testing.assert_array_equal(index, np.arange(support.TRAIN))
  assert made.parts.teacher is not None
  wanted, _ = made.parts.teacher.apply(
    support.numbers(teacher), jnp.asarray(seen), train=False
  )
  logits = np.concatenate([features.logits for features, _ in walk])
  np.testing.assert_allclose(logits, wanted.logits, atol=1e-5)


def test_counts_the_operations_of_one_image():
  made = _program('none', 1)
  state = support.start(made)[0][0]
  # Two products, 16 x 6 and 6 x 3, of two operations an entry at the least.
  assert made.forward_flops(state) >= 2 * (16 * 6 + 6 * 3)


def test_methods_by_name_are_all_here():
  # Those that need stages have such tests beside their own: test_fcfd,
  # test_lshfm, and losses/test_ssim.
  elsewhere = {'dcd', 'fcfd', 'lshfm', 'ssim'}
  assert set(methods.METHODS) - elsewhere <= set(METHODS)


def test_a_set_is_in_memory_once_for_all_devices_of_a_cpu():
  train = support.dataset().train
  made = Program(support.parts(), first_devices(2), train, support.BATCH)
  places = {
    piece.data.unsafe_buffer_pointer()
    for piece in made.train_data['image'].addressable_shards
  }
  assert places == {train.images.ctypes.data}
