import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import methods
from kdjax.methods import Icd, Kd, Kd2m, Lshfm, Ssim
from tests.methods import support


def test_methods_are_created_by_name():
  for name, class_ in methods.METHODS.items():
    assert type(methods.create(name)) is class_


def test_methods_are_frozen_keyword_only_dataclasses():
  for class_ in methods.METHODS.values():
    assert dataclasses.is_dataclass(class_)
    with pytest.raises(dataclasses.FrozenInstanceError):
      class_().task_weight = 2.0
    with pytest.raises(TypeError):
      class_(1.0)


def test_settings_are_checked_on_construction():
  for class_ in methods.METHODS.values():
    with pytest.raises(ValueError, match='task_weight'):
      class_(task_weight=float('nan'))


@pytest.mark.parametrize(
  ('name', 'message'),
  [
    ('kd2n', "Unknown method 'kd2n'; did you mean 'kd2m'"),
    ('KD', "did you mean 'kd'"),
    ('', "Unknown method ''. Known: "),
    ('kd+xyzzy', "Unknown method 'xyzzy'. Known: "),
    ('kd+kd', 'must combine different methods'),
    ('none+kd', 'without none'),
  ],
)
def test_invalid_names_raise_an_error(name, message):
  with pytest.raises(ValueError, match=message.replace('+', r'\+')):
    methods.create(name)


STEPS = ((1, 1.0), (3, 2.5))


@pytest.mark.parametrize(
  'method',
  [
    Kd(weight=STEPS),
    Icd(weight=STEPS, width=3),
    Kd2m(metric='paired', weight=STEPS),
    Lshfm(loss='l2', weight=STEPS),
    Ssim(compare='l2', weight=STEPS),
  ],
  ids=lambda method: type(method).__name__,
)
def test_weights_may_be_step_schedules(method):
  maps = jax.random.normal(jax.random.key(5), (2, support.BATCH, 4, 4, 3))
  passes = [
    dataclasses.replace(
      network, features=dataclasses.replace(network.features, stages=(x, x))
    )
    for network, x in zip(
      (support.make_pass(5, 1), support.make_pass(5, 2)), maps
    )
  ]
  specs = [
    dataclasses.replace(
      support.spec(5), features=jax.eval_shape(lambda x=network: x.features)
    )
    for network in passes
  ]
  variables = method.init(jax.random.key(4), *specs, support.DATA)
  batch = {'label': jnp.arange(support.BATCH) % support.CLASSES}

  @jax.jit
  def total(epoch):
    given = (variables, *passes, batch, support.context(epoch))
    return sum(method.terms(*given)[0].values())

  before, first, later, last = (float(total(e)) for e in (0.0, 1.0, 3.0, 9.0))
  assert before == 0 < first
  np.testing.assert_allclose([later, last], 2.5 * first, rtol=1e-6)
