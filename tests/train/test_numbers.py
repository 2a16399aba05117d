"""Settings that are arguments of a program: one executable, the same runs."""

import dataclasses

import jax
import pytest

from kdjax import methods
from kdjax.methods import Fcfd, Icd, Kd, Kd2m, Lshfm, Ssim, combine
from kdjax.train import Recipe
from kdjax.train.numbers import as_state, skeleton
from tests.train import support

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
RATE = {'learning_rate': 0.02}


def _steps(method, recipe=RECIPE, numbers=None):
  """State after an epoch, and how many executables that took."""
  made = support.program(support.parts(method, recipe))
  carry, teacher, key = support.start(made)
  state = dataclasses.replace(carry[0], numbers=numbers or {})
  made_carry = made.first_carry(made.devices.replicate(state), teacher)
  after = support.advance(made, made_carry, teacher, key, 3)
  return after[0], made


@pytest.mark.slow
@pytest.mark.parametrize('name', SWEPT)
def test_numbers_as_arguments_are_numbers_as_settings(name):
  method, numbers = SWEPT[name]
  numbers = numbers | RATE
  found, made = _steps(method, numbers=as_state(numbers, RECIPE.learning_rate))
  del numbers['learning_rate']
  settled = method.with_numbers(numbers)
  wanted, _ = _steps(settled, dataclasses.replace(RECIPE, learning_rate=0.02))
  support.close(found.params, wanted.params, 1e-5)
  support.close(found.opt_state, wanted.opt_state, 1e-5)
  # And they change what is trained.
  start = support.start(made)[0][0].params
  with pytest.raises(AssertionError):
    support.close(found.params, start, 1e-3)
  assert made.compilations() == 1


def test_other_numbers_reuse_the_executable():
  made = support.program(support.parts('kd'))
  carry, teacher, key = support.start(made)
  for weight in (0.1, 1.0, 7.0):
    numbers = as_state({'weight': weight}, RECIPE.learning_rate)
    state = dataclasses.replace(
      jax.tree.map(lambda a: a.copy(), carry[0]), numbers=numbers
    )
    own = made.first_carry(made.devices.replicate(state), teacher)
    support.advance(made, own, teacher, key, 1)
  assert made.compilations() == 1


def test_a_skeleton_forgets_what_is_swept_and_nothing_else():
  names = ('weight', 'learning_rate')
  one = skeleton(Kd(weight=0.3), names)
  assert one == skeleton(Kd(weight=3.0), names)
  assert one != skeleton(Kd(weight=0.3, temperature=2.0), names)


@pytest.mark.parametrize(
  ('method', 'name'),
  [
    (Lshfm(), 'hashes'),
    (Ssim(), 'window'),
    (Kd2m(), 'metric'),
    (Fcfd(), 'warmup_epochs'),
    (methods.create('kd+icd'), 'kd'),
    (methods.create('kd+icd'), 'weight'),
  ],
)
def test_refuses_what_is_no_number(method, name):
  with pytest.raises(ValueError, match='may be any number; these are'):
    method.with_numbers({name: 1.0})
