import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.methods import Icd, Supervised
from kdjax.train import StagedRecipe
from tests.train import support

STEPS = 3  # of an epoch
RECIPE = StagedRecipe(
  epochs=4,
  batch_size=support.BATCH,
  learning_rate=0.2,
  schedule='cosine',
  align_epochs=2,
  align_factor=3.0,
)


@pytest.fixture(scope='module')
def epochs():
  return support.epochs(support.parts(Icd(width=4), recipe=RECIPE))


def _carries(epochs, *stops):
  """Returns copies of the carry before the first step and at each stop."""
  carry, frozen, key = support.start(epochs)
  carries = [support.numbers(carry)]
  for stop in stops:
    carry = support.advance(epochs, carry, frozen, key, stop)
    carries.append(support.numbers(carry))
  return carries


@pytest.mark.slow
def test_only_method_parameters_are_trained_in_the_first_stage(epochs):
  before, aligned, after = _carries(epochs, STEPS, 2 * STEPS)
  began, state, sums = before.state, aligned.state, aligned.sums
  support.identical(state.params['student'], began.params['student'])
  for name in ('student', 'teacher'):
    kernel = state.params['method'][name]['kernel']
    assert (kernel != began.params['method'][name]['kernel']).any()
  moved = jax.tree.leaves(
    jax.tree.map(
      lambda a, b: (a != b).any(), state.batch_stats, began.batch_stats
    )
  )
  assert all(moved)
  assert sums['terms/task'] == 0
  assert sums['loss'] == pytest.approx(sums['terms/icd'])
  support.identical(after.state.params['student'], began.params['student'])
  last = _carries(epochs, STEPS, 2 * STEPS, 2 * STEPS + 1)[-1]
  assert last.sums['terms/task'] > 0
  kernels = [
    state.params['student']['hidden']['kernel'] for state in (began, last.state)
  ]
  assert (kernels[0] != kernels[1]).any()


def test_learning_rate_has_one_schedule_per_stage():
  rates = [float(RECIPE.learning_rate_at(epoch)) for epoch in range(6)]
  half = np.cos(np.pi / 8) ** 2
  want = [1, 0.5, 1, half, 0.5, 1 - half]
  np.testing.assert_allclose(rates, 0.2 * np.array(want), rtol=1e-6)
  within = float(RECIPE.learning_rate_at(2.5))
  assert rates[3] < within < rates[2]


def test_recipe_without_stages_has_the_second_stage_only():
  plain = RECIPE.without_stages()
  assert (plain.all_epochs, RECIPE.all_epochs) == (4, 6)
  assert plain.learning_rate_at(1) == RECIPE.learning_rate_at(3)


def test_body_factor_scales_the_updates_of_the_body():
  network = support.network()
  variables = network.initialize(jax.random.key(0), support.IMAGE_SHAPE)
  params = {'student': variables['params'], 'method': {'kernel': jnp.ones(2)}}
  gradients = jax.tree.map(jnp.ones_like, params)

  def change(factor) -> dict:
    recipe = dataclasses.replace(RECIPE, body_factor=factor)
    optimizer = recipe.optimizer(STEPS, network, Supervised())
    state = optimizer.init(params)
    changes: Any = optimizer.update(gradients, state, params)[0]
    return changes

  plain, slow = change(1.0), change(0.25)
  for name in ('hidden', 'norm'):
    below = jax.tree.map(lambda x: 0.25 * x, plain['student'].pop(name))
    support.identical(slow['student'].pop(name), below)
  assert list(slow['student']) == ['head']
  support.identical(slow, plain)


def test_invalid_settings_raise_an_error():
  with pytest.raises(ValueError, match='align_epochs must be zero or more'):
    dataclasses.replace(RECIPE, align_epochs=-1)
  with pytest.raises(ValueError, match='align_factor positive, got -1 and 0'):
    StagedRecipe(align_epochs=-1, align_factor=0)
  with pytest.raises(ValueError, match='body_factor must be zero or more'):
    StagedRecipe(body_factor=-1.0)
