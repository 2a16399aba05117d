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
from kdjax.train import Frozen, Recipe, ResidentEpochs, evaluate
from kdjax.train.evaluate import SAMPLES
from tests.train import support

pytestmark = pytest.mark.optimized

# With this weight of `kd2m` training is stable; with 1.0, three steps of this
# small network amplify float32 rounding twentyfold.
METHODS = {
  'none': 'none',
  'kd': 'kd',
  'kd2m': Kd2m(metric='w2', weight=0.1),
  'icd': 'icd',
  'kd+kd2m': 'kd+kd2m',
}
STEPS = 3  # of an epoch; the last has five examples


@functools.cache
def _epochs(name, devices):
  """Returns cached epochs: they have no state, so tests share programs."""
  return support.epochs(support.parts(METHODS[name]), first_devices(devices))


def _advance(made, stops):
  """Returns the carry after dispatches up to each of `stops`."""
  carry, frozen, key = support.start(made)
  for stop in stops:
    carry = support.advance(made, carry, frozen, key, stop)
  return carry


@functools.cache
def _epoch(name, devices):
  """Returns the carry after one epoch on some devices."""
  return support.numbers(_advance(_epochs(name, devices), [STEPS]))


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
def test_epoch_is_the_same_on_any_number_of_devices(name, devices):
  # Parameters, momentum (sums of gradients), statistics and reported sums.
  # Two and eight devices divide the batch of 8, but not the last one of 5.
  support.close(_epoch(name, 1), _epoch(name, devices), 1e-5)


def test_batch_is_sharded_if_the_devices_divide_it():
  devices = first_devices(8)
  seen = []

  def look(batch):
    jax.debug.inspect_array_sharding(batch['image'], callback=seen.append)
    return batch

  jax.jit(lambda batch: look(devices.split(batch)))(support.first_batch(8))
  jax.jit(lambda batch: look(devices.split(batch)))(support.first_batch(5))
  assert [sharding.is_fully_replicated for sharding in seen] == [False, True]


@pytest.mark.slow
def test_training_with_a_sharded_teacher_matches():
  parts, devices = support.parts('kd'), first_devices(4, fsdp=2)
  made = support.epochs(parts, devices)
  carry, _, key = support.start(made)
  whole = support.teacher_variables(parts)
  teacher = devices.shard(whole)
  carry = support.advance(made, carry, Frozen(teacher=teacher), key, STEPS)
  support.close(carry, _epoch('kd', 1), 1e-5)
  held = sum(
    leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(teacher)
  )
  assert held < 0.6 * sum(leaf.nbytes for leaf in jax.tree.leaves(whole))


def test_fsdp_must_divide_the_devices():
  with pytest.raises(ValueError, match=r'fsdp must divide .* got 3 and 4'):
    first_devices(4, fsdp=3)


@pytest.mark.parametrize('name', ['none', 'kd'])
def test_dispatch_sizes_give_identical_bits(name):
  made = _epochs(name, 1)
  once = _advance(made, [STEPS])
  support.identical(once, _advance(made, [1, 2, 3]))
  support.identical(once, _advance(made, [2, 2, 3]))
  assert made.compilations() == 1


def test_dispatch_ends_with_its_epoch_and_sums_are_reset():
  made = _epochs('none', 1)
  first = _advance(made, [99])
  assert int(first.state.step) == STEPS
  assert float(first.sums['examples']) == support.TRAIN
  second = _advance(made, [99, 4])
  assert float(second.sums['examples']) == support.BATCH


def test_sums_are_over_the_examples_of_an_epoch():
  sums = _epoch('kd', 1).sums
  assert sums['loss'] == pytest.approx(
    sums['terms/task'] + sums['terms/kd'], rel=1e-6
  )
  assert sums['terms/task'] == pytest.approx(0.1 * sums['outputs/loss'])
  right = float(sums['outputs/accuracy'])
  assert right == pytest.approx(round(right))  # a number of examples


@pytest.mark.parametrize('devices', [1, 8])
@pytest.mark.parametrize('count', [13, 300])
def test_evaluation_covers_every_example_once(count, devices):
  made = _epochs('none', devices)
  images, labels = support.arrays(count, 5)
  split = Split(images, labels.astype(np.int32))
  carry, frozen, _ = support.start(made)
  evaluation = made.evaluator.evaluate(carry.state, frozen, made.place(split))
  parts = made.program.parts
  features, _ = parts.student.apply(
    jax.tree.map(jnp.asarray, support.numbers(carry.state.student_variables)),
    jnp.asarray(images, jnp.float32) / 255,
    train=False,
  )
  right = np.asarray(features.logits).argmax(-1) == labels
  scores = parts.task.summarize(evaluation.outputs)
  assert scores['correct'] == right.sum()
  assert scores['accuracy'] == pytest.approx(right.mean())
  samples = evaluation.samples
  np.testing.assert_allclose(
    samples['embedding'], features.embedding, atol=1e-5
  )
  np.testing.assert_array_equal(samples['labels'], labels)


def _walk(made, read):
  teacher = support.start(made)[1].teacher
  return [
    *made.evaluator.walk(teacher, made.train_data, read, check=lambda: None)
  ]


def test_teacher_passes_wait_for_each_batch(monkeypatch):
  # Concurrent batches could occupy all threads and deadlock.
  made, awaited = _epochs('kd', 8), []
  devices = type(made.program.devices)
  wait = devices.awaited
  monkeypatch.setattr(
    devices, 'awaited', lambda self, tree: awaited.append(1) or wait(self, tree)
  )
  walked = _walk(made, lambda features, batch: features.logits)
  assert len(awaited) == len(walked) == STEPS


def test_evaluation_is_one_dispatch_of_one_program(monkeypatch):
  made = _epochs('none', 2)
  images, labels = support.arrays(900, 5)
  data = made.place(Split(images, labels.astype(np.int32)))
  carry, frozen, _ = support.start(made)
  compiled, calls = made.evaluator._evaluate, []

  def counted(*arguments):
    calls.append(arguments)
    return compiled(*arguments)

  before = compiled._compiled._cache_size()
  monkeypatch.setattr(made.evaluator, '_evaluate', counted)
  for first in (None, 500):
    made.evaluator.evaluate(carry.state, frozen, data, first=first)
  assert len(calls) == 2
  assert compiled._compiled._cache_size() == before + 1


def test_partial_evaluation_is_a_prefix_of_the_full_one():
  made = _epochs('none', 1)
  carry, frozen, _ = support.start(made)
  test = made.place(support.dataset().test)
  whole = made.evaluator.evaluate(carry.state, frozen, test)
  few = made.evaluator.evaluate(carry.state, frozen, test, first=4)
  start = jax.tree.map(lambda array: array[:4], whole)
  support.identical(few, start)


@functools.cache
def _observing(devices):
  """Returns epochs of a student and a teacher with one architecture."""
  recipe = Recipe(batch_size=support.BATCH, ema_decay=0.9)
  parts = support.parts('kd2m', recipe)
  return support.epochs(parts, first_devices(devices), recipe)


def _observe(made, count=support.TEST, **changes):
  """Returns the observations on some test images."""
  carry, frozen, _ = support.start(made)
  state = dataclasses.replace(carry.state, **changes)
  test = support.dataset().test
  test = Split(test.images[:count], test.labels[:count])
  return made.evaluator.observe(state, frozen, made.place(test))


@pytest.mark.parametrize('count', [8, 13])
def test_observations_are_the_same_on_any_number_of_devices(count):
  one, many = (_observe(_observing(devices), count) for devices in (1, 8))
  assert one['bound']['risk_gap'] > 0
  support.close(one, many, 1e-5)


def test_observations_use_the_first_images_only(monkeypatch):
  made = _observing(1)
  whole = _observe(made)
  assert support.TEST < SAMPLES
  monkeypatch.setattr(evaluate, 'SAMPLES', 8)
  assert _observe(made) == _observe(made, 8) != whole


def test_observations_use_the_evaluated_student():
  # The student has the teacher's weights: there is no difference.
  made = _observing(1)
  teacher = support.teacher_variables(made.program.parts)
  lines = _observe(
    made,
    params={'student': teacher['params'], 'method': {}},
    batch_stats=teacher['batch_stats'],
  )
  bound = lines['bound']
  assert bound['w2'] == bound['paired'] == bound['risk_gap'] == 0
  assert bound['lipschitz'] > 0


def test_methods_without_observations_compile_nothing():
  made = _epochs('kd', 1)
  assert _observe(made) == {}
  assert made.evaluator._observe._cache_size() == 0


def test_non_finite_observations_are_omitted():
  made = _observing(1)
  params = support.start(made)[0].state.params
  broken = jax.tree.map(lambda leaf: leaf * jnp.nan, params)
  assert _observe(made, params=broken) == {}


def test_batch_larger_than_the_dataset_raises_an_error():
  made = support.program(support.parts())
  with pytest.raises(ValueError, match=r'batch of 22 .*21 images.*=21'):
    dataclasses.replace(made, batch_size=22)


def test_too_many_devices_raise_an_error():
  with pytest.raises(ValueError, match='99 devices were asked for'):
    first_devices(99)


def test_teacher_pass_reads_the_dataset_in_order():
  made = _epochs('kd', 2)

  def read(features, batch):
    return {'logits': features.logits, **batch}

  walk = _walk(made, read)
  assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(walk))
  seen = jax.tree.map(lambda *rows: np.concatenate(rows), *walk)
  train, parts = support.dataset().train, made.program.parts
  np.testing.assert_allclose(seen['image'], train.images / 255, rtol=1e-6)
  np.testing.assert_array_equal(seen['index'], np.arange(support.TRAIN))
  np.testing.assert_array_equal(seen['label'], train.labels)
  wanted, _ = parts.teacher.apply(
    support.teacher_variables(parts), jnp.asarray(seen['image']), train=False
  )
  np.testing.assert_allclose(seen['logits'], wanted.logits, atol=1e-5)


def test_operations_of_one_image_are_counted():
  made = _epochs('none', 1)
  state = support.start(made)[0].state
  # At least two products, 16 x 6 and 6 x 3, of two operations per entry.
  assert made.program.forward_flops(state) >= 2 * (16 * 6 + 6 * 3)


def test_all_methods_are_tested():
  # Methods that need stages are tested in test_fcfd, test_lshfm and
  # losses/test_ssim.
  elsewhere = {'dcd', 'fcfd', 'lshfm', 'ssim'}
  assert set(methods.METHODS) - elsewhere <= set(METHODS)


def test_cpu_devices_share_one_copy_of_the_dataset():
  train = support.dataset().train
  program = support.program(support.parts(), first_devices(2))
  made = ResidentEpochs(dataclasses.replace(program, train=train))
  pointers = {
    piece.data.unsafe_buffer_pointer()
    for piece in made.train_data['image'].addressable_shards
  }
  assert pointers == {train.images.ctypes.data}
