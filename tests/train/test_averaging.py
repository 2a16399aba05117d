"""Averages of weights in whole runs: of the last epochs and exponential."""

import dataclasses
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.methods import Fcfd, Kd2m, Ssim
from kdjax.models import linen_network
from kdjax.models.resnet import ResNet
from kdjax.runtime import files
from kdjax.runtime.run_folder import RunFolder
from kdjax.runtime.signals import Interrupted
from kdjax.train import Frozen, Recipe, TrainState
from kdjax.train.averaging import Ema, LastEpochs, epoch_weights
from tests.train import support

LAST = Recipe(epochs=4, batch_size=support.BATCH, average_last=3)
BOTH = Recipe(epochs=3, batch_size=support.BATCH, ema_decay=0.9, average_last=2)
PER_EPOCH = 3


@pytest.fixture(scope='module')
def epochs():
  return support.epochs(support.parts(recipe=LAST), recipe=LAST)


@pytest.fixture(scope='module')
def whole(epochs, tmp_path_factory):
  """Uninterrupted run, and its weights at the end of each epoch."""
  made = support.run(tmp_path_factory.mktemp('whole'), epochs, recipe=LAST)
  weights, advance = [], epochs.advance

  def noting(*args):
    carry = advance(*args)
    if int(carry.state.step) % PER_EPOCH == 0:
      weights.append(support.numbers(carry.state.student_variables))
    return carry

  with mock.patch.object(epochs, 'advance', noting):
    support.train(made)
  return made.folder, weights


def _mean(weights, factors):
  return jax.tree.map(
    lambda *values: sum(f * v for f, v in zip(factors, values)) / sum(factors),
    *weights,
  )


def test_average_of_the_last_epochs_is_saved_beside_the_student(epochs, whole):
  folder, weights = whole
  assert len(weights) == 4
  average = support.stored(epochs, folder, 'student_average')
  support.close(average, _mean(weights, (0, 1, 1, 1)), 1e-6)
  support.identical(support.stored(epochs, folder), weights[-1])
  with pytest.raises(AssertionError):
    support.close(average, weights[-1], 1e-4)


def _count_correct(epochs, variables):
  """Returns how many test images a student classifies correctly."""
  test = support.dataset().test
  features, _ = epochs.program.parts.student.apply(
    variables, test.images / np.float32(255), train=False
  )
  return (np.argmax(features.logits, -1) == test.labels).sum()


def test_end_line_has_the_score_of_the_average(epochs, whole):
  folder, _ = whole
  average = support.stored(epochs, folder, 'student_average')
  end = files.read_lines(folder / 'metrics.jsonl')[-1]
  assert end['average_correct'] == _count_correct(epochs, average)
  assert end['average_accuracy'] == pytest.approx(
    end['average_correct'] / support.TEST
  )


@pytest.mark.parametrize('looks', [2, 3, 4])
def test_average_of_a_resumed_run_is_bit_identical(
  epochs, whole, tmp_path, looks
):
  run = support.run(tmp_path, epochs, recipe=LAST)
  with pytest.raises(Interrupted):
    support.train(run, support.StopAfter(looks))
  support.train(run)
  support.same_end(epochs, tmp_path, whole[0], ('student', 'student_average'))


@pytest.mark.slow
def test_published_form_counts_the_second_epoch_twice(whole, tmp_path):
  recipe = dataclasses.replace(LAST, average_form='as_published')
  epochs = support.epochs(support.parts(recipe=recipe), recipe=recipe)
  support.train(support.run(tmp_path, epochs, recipe=recipe))
  average = support.stored(epochs, tmp_path, 'student_average')
  support.close(average, _mean(whole[1], (0, 0, 2, 1)), 1e-6)


@pytest.mark.parametrize('form', ['mean', 'as_published'])
@pytest.mark.parametrize('count', [1, 2, 3, 10])
def test_epoch_weights_sum_to_their_number(count, form):
  factors = epoch_weights(count, form)
  assert len(factors) == sum(factors) == count


@pytest.mark.parametrize('last', [0, 5])
def test_invalid_number_of_averaged_epochs_raises_an_error(last):
  with pytest.raises(ValueError, match='from 1 to the 4 epochs, got'):
    Recipe(epochs=4, average_last=last)


@pytest.mark.slow
def test_exponential_average_worked_by_hand():
  recipe = dataclasses.replace(BOTH, ema_decay=0.15)
  epochs = support.epochs(support.parts(recipe=recipe), recipe=recipe)
  carry, frozen, key = support.start(epochs)
  average = support.numbers(carry.state.student_variables)
  # (1 + t) / (10 + t), and at most 0.15.
  for stop, decay in ((1, 1 / 10), (2, 0.15), (3, 0.15)):
    carry = support.advance(epochs, carry, frozen, key, stop)
    average = jax.tree.map(
      lambda old, new, decay=decay: decay * old + (1 - decay) * new,
      average,
      support.numbers(carry.state.student_variables),
    )
  (ema,) = (w for w in epochs.program.wrappers if hasattr(w, 'decay'))
  variants = ema.variants(carry.state)
  support.close(average, variants['ema'].student_variables, 1e-6)
  support.identical(
    variants['raw'].student_variables, carry.state.student_variables
  )


def _state(step, value):
  """A state whose weights and statistics are a number."""
  return TrainState(
    step=jnp.int32(step),
    params={'student': {'w': jnp.float32(value)}, 'method': {}},
    batch_stats={'mean': jnp.float32(-value)},
    teacher_stats={},
    method_state={},
    opt_state=(),
    key=jax.random.key(0),
  )


def _halved(state, frozen, batch):
  """A step that halves the weights and doubles the statistics."""
  changed = dataclasses.replace(
    state,
    step=state.step + 1,
    params=jax.tree.map(lambda x: x / 2, state.params),
    batch_stats=jax.tree.map(lambda x: 2 * x, state.batch_stats),
  )
  return changed, {}


def test_an_exponential_average_of_numbers():
  wrapper = Ema(0.15)
  state, step = wrapper.init(_state(0, 1.0)), wrapper.wrap(_halved)
  weights, statistics = 1.0, -1.0
  # (1 + t) / (10 + t), and at most 0.15.
  for number, decay in enumerate((1 / 10, 0.15, 0.15), 1):
    state, _ = step(state, Frozen(teacher={}), {})
    weights = decay * weights + (1 - decay) * 0.5**number
    statistics = decay * statistics - (1 - decay) * 2.0**number
  variants = wrapper.variants(state)
  assert list(variants) == ['ema', 'raw']
  for name, want in (('ema', (weights, statistics)), ('raw', (0.125, -8.0))):
    own = variants[name].student_variables
    got = own['params']['w'], own['batch_stats']['mean']
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_a_sum_of_the_last_epochs_of_numbers():
  # Epochs of two steps; of four epochs the last two, after steps 6 and 8.
  wrapper = LastEpochs(2, 'mean', first=2, steps_per_epoch=2)
  state, step = wrapper.init(_state(0, 1.0)), wrapper.wrap(_halved)
  for _ in range(8):
    state, _ = step(state, Frozen(teacher={}), {})
  mean = wrapper.final_states(state)['student_average'].student_variables
  np.testing.assert_allclose(mean['params']['w'], (2**-6 + 2**-8) / 2, 1e-6)
  np.testing.assert_allclose(mean['batch_stats']['mean'], -(2**5 + 2**7), 1e-6)
  assert float(state.params['student']['w']) == 2**-8


def _residual(method):
  """Returns parts of networks with two stages of feature maps."""
  student, teacher = (
    linen_network(
      ResNet(
        num_classes=support.CLASSES,
        blocks=(1, 1),
        widths=widths,
        stem_width=4,
      ),
      name=name,
    )
    for name, widths in (('student', (4, 6)), ('teacher', (6, 8)))
  )
  return support.parts(method, BOTH, student, teacher)


KD2M = Kd2m(metric='w2', weight=0.1, projection='linear')
MAPS = {'fcfd': Fcfd(feature_weight=0.5), 'ssim': Ssim(adapter='always')}


@pytest.mark.parametrize(
  'method',
  [
    pytest.param('icd', marks=pytest.mark.slow),
    pytest.param(KD2M, id='kd2m', marks=pytest.mark.slow),
    pytest.param('kd', marks=pytest.mark.slow),
    pytest.param('lshfm', marks=pytest.mark.slow),
    pytest.param('icd+kd', marks=pytest.mark.slow),
  ],
)
def test_resumed_averages_with_method_parameters_are_bit_identical(
  method, tmp_path
):
  _assert_resumed(support.parts(method, BOTH), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize('name', MAPS)
def test_resumed_averages_with_feature_maps_are_bit_identical(
  name, tmp_path, hasty_compiler
):
  _assert_resumed(_residual(MAPS[name]), tmp_path)


def _assert_resumed(parts, tmp_path):
  """Asserts that a stopped and resumed run is bit-identical."""
  epochs = support.epochs(parts, recipe=BOTH)
  whole, resumed = (
    support.run(tmp_path / name, epochs, recipe=BOTH)
    for name in ('whole', 'resumed')
  )
  support.train(whole)
  with pytest.raises(Interrupted):
    support.train(resumed, support.StopAfter(3))
  support.train(resumed)
  networks = ('student', 'student_average')
  support.same_end(epochs, whole.folder, resumed.folder, networks)
  support.identical(_checkpoint(whole), _checkpoint(resumed))


def _checkpoint(run):
  """Returns the carry in the newest checkpoint of a run."""
  like, _, _ = support.start(run.epochs)
  devices = run.epochs.program.devices
  with RunFolder(run.folder, run.about, devices) as folder:
    carry = folder.restore(like, 1, print)
  assert int(carry.state.step) == run.total_steps
  assert set(carry.state.averages) == {'ema', 'last_epochs'}
  return carry


def test_better_of_average_and_latest_weights_is_the_student(tmp_path):
  recipe = dataclasses.replace(BOTH, average_last=None)
  epochs = support.epochs(support.parts(recipe=recipe), recipe=recipe)
  support.train(support.run(tmp_path, epochs, recipe=recipe))
  for line in support.lines(tmp_path, 'eval'):
    scores = {name: line[f'{name}_accuracy'] for name in ('ema', 'raw')}
    assert line['weights'] == max(scores, key=scores.__getitem__)
    assert line['accuracy'] == max(scores.values())
  end = support.lines(tmp_path, 'end')[0]
  assert end['correct'] == _count_correct(
    epochs, support.stored(epochs, tmp_path)
  )
  assert end['weights'] in ('ema', 'raw')
