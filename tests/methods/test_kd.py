import jax
import numpy as np
import pytest

from kdjax import losses
from kdjax.methods import Kd
from tests.methods import support


def test_term_is_the_weighted_mean_divergence():
  student, teacher = (support.features(w, s) for w, s in ((5, 1), (7, 2)))
  want = losses.soft_target_kl(student.logits, teacher.logits, temperature=3.0)
  got = support.terms(Kd(weight=0.5, temperature=3.0))
  assert set(got) == {'kd'}
  np.testing.assert_allclose(got['kd'], 0.5 * want.mean(), rtol=1e-6)


def test_default_weights_alone_and_in_combinations():
  assert (Kd().task_weight, Kd().weight) == (0.1, 0.9)
  beside = Kd(temperature=2.0).combined()
  assert beside == Kd(task_weight=1.0, weight=1.0, temperature=2.0)


def test_method_has_no_variables():
  made = Kd().init(
    jax.random.key(0), support.spec(5), support.spec(7), support.DATA
  )
  assert made == {'params': {}, 'state': {}}


@pytest.mark.parametrize(
  ('setting', 'message'),
  [
    ({'weight': -1.0}, 'weight of Kd must be zero or more, got -1.0'),
    ({'temperature': 0.0}, 'temperature of Kd must be positive, got 0.0'),
    ({'task_weight': -0.1}, 'task_weight of Kd must be zero or more'),
  ],
)
def test_invalid_settings_raise_an_error(setting, message):
  with pytest.raises(ValueError, match=message):
    Kd(**setting)
