"""Settings as a pytree: its leaves and their replacement."""

import jax
import pytest

from kdjax.methods import Fcfd, Icd, Kd, Kd2m, Lshfm, Ssim, create
from kdjax.methods.settings import float_settings, with_settings


def test_leaves_are_numeric_float_settings():
  assert float_settings(Kd()) == {
    'task_weight': 0.1,
    'weight': 0.9,
    'temperature': 4.0,
  }
  steps = ((0, 1.0), (5, 2.0))
  assert float_settings(Lshfm(weight=steps)) == {'task_weight': 1.0}
  assert set(float_settings(Kd2m())) == {'task_weight', 'epsilon', 'ridge'}
  assert float_settings(Kd2m(beta=2.0))['beta'] == 2.0
  assert float_settings(create('kd+icd'))['icd.invariance_weight'] == 0.5


def test_settings_are_arguments_of_compiled_programs():
  method = Kd2m(weight=((0, 1.0), (5, 2.0)))
  compiled = jax.jit(lambda method: method)
  got = compiled(method)
  assert (got.weight, got.beta, got.metric) == (method.weight, 'max', 'w2')
  assert float(got.ridge) == pytest.approx(1e-3)
  compiled(with_settings(method, {'ridge': 0.1}))
  assert compiled._cache_size() == 1


def test_settings_are_replaced_by_name():
  changed = with_settings(create('kd+kd2m'), {'kd.weight': 3.0, 'kd2m.beta': 1})
  assert (changed.kd.weight, changed.kd2m.beta) == (3.0, 1)
  assert changed.kd2m.epsilon == 0.1
  # Also if the current value is None or a string, and without checks.
  assert with_settings(Kd2m(), {'weight': -1.0}).weight == -1.0
  method = Kd(weight=0.3)
  assert with_settings(method, {'weight': 0.9}) == Kd()
  assert method.weight == 0.3


@pytest.mark.parametrize(
  ('method', 'name'),
  [
    (Lshfm(), 'hashes'),
    (Ssim(), 'window'),
    (Kd2m(), 'metric'),
    (Fcfd(), 'warmup_epochs'),
    (Icd(), 'weight.more'),
    (create('kd+icd'), 'kd'),
    (create('kd+icd'), 'weight'),
  ],
)
def test_other_settings_raise_an_error(method, name):
  with pytest.raises(ValueError, match='may be any number; these are'):
    with_settings(method, {name: 1.0})
