"""Swept settings are arguments of one compiled program."""

import dataclasses

import jax.numpy as jnp
import optax
import pytest

from kdjax.methods import Icd, Kd, Kd2m, Lshfm, combine
from kdjax.methods.settings import with_settings
from kdjax.runtime.signals import Interrupted
from kdjax.train import Recipe
from kdjax.train.optimizer import scale_learning_rate
from kdjax.train.run import LEARNING_RATE
from tests.train import support

pytestmark = pytest.mark.optimized

SWEPT = {
  'kd': (Kd(), {'weight': 2.0, 'temperature': 3.0, 'task_weight': 0.7}),
  'kd2m': (Kd2m(metric='w2', weight=1e-2), {'weight': 0.1}),
  'lshfm': (Lshfm(hashes=16), {'weight': 3.0}),
  'kd+icd': (
    combine({'kd': Kd(), 'icd': Icd()}),
    {'kd.weight': 0.3, 'icd.weight': 2.0, 'icd.invariance_weight': 0.1},
  ),
}
RECIPE = Recipe(epochs=3, batch_size=support.BATCH)
RATE = 0.02


def _train_epoch(method, recipe=RECIPE, settings=None, rate=None):
  """Returns the states before and after an epoch, and the epochs."""
  made = support.epochs(support.parts(method, recipe))
  carry, frozen, key = support.start(made)
  before, state = support.numbers(carry.state), carry.state
  if settings is not None:
    values = {name: jnp.float32(value) for name, value in settings.items()}
    frozen = dataclasses.replace(frozen, settings=values)
    opt_state = scale_learning_rate(
      state.opt_state, rate / recipe.learning_rate
    )
    carry = dataclasses.replace(
      carry, state=dataclasses.replace(state, opt_state=opt_state)
    )
  after = support.advance(made, carry, frozen, key, 3).state
  return before, after, made


@pytest.mark.slow
@pytest.mark.parametrize('name', SWEPT)
def test_settings_as_arguments_match_settings_of_the_method(name):
  method, settings = SWEPT[name]
  before, after, made = _train_epoch(method, settings=settings, rate=RATE)
  _, wanted, _ = _train_epoch(
    with_settings(method, settings),
    dataclasses.replace(RECIPE, learning_rate=RATE),
  )
  support.close(after.params, wanted.params, 1e-5)
  momentum, wanted_momentum = (
    optax.tree.get(state.opt_state, 'trace') for state in (after, wanted)
  )
  support.close(momentum, wanted_momentum, 1e-5)
  # The settings have an effect.
  with pytest.raises(AssertionError):
    support.close(after.params, before.params, 1e-3)
  assert made.compilations() == 1


@pytest.fixture(scope='module')
def epochs():
  return support.epochs(support.parts('kd'))


@pytest.mark.slow
def test_runs_with_different_settings_share_the_program(epochs, tmp_path):
  losses = []
  for weight, rate in ((0.1, 0.05), (7.0, 0.05), (7.0, 0.01)):
    folder = tmp_path / f'{weight}-{rate}'
    swept = {'weight': weight, LEARNING_RATE: rate}
    support.train(support.run(folder, epochs, swept=swept))
    train = support.lines(folder, 'train')
    losses.append([line['loss'] for line in train])
    assert train[0]['learning_rate'] == pytest.approx(rate)
  assert epochs.compilations() == 1
  assert len({tuple(run) for run in losses}) == 3


@pytest.mark.slow
def test_resumed_run_with_swept_settings_is_bit_identical(epochs, tmp_path):
  swept = {'temperature': 2.0, LEARNING_RATE: 0.01}
  whole, parts = (
    support.run(tmp_path / name, epochs, swept=swept)
    for name in ('whole', 'parts')
  )
  support.train(whole)
  with pytest.raises(Interrupted):
    support.train(parts, support.StopAfter(2))
  support.train(parts)
  support.same_end(epochs, whole.folder, parts.folder)


def test_swept_setting_that_is_not_float_raises_an_error(epochs, tmp_path):
  run = support.run(tmp_path, epochs, swept={'hashes': 3.0})
  with pytest.raises(ValueError, match='hashes of Kd is not a setting'):
    support.train(run)
