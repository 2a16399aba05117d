import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kdjax.methods import Supervised
from kdjax.train import Recipe
from tests.train import support


def _steps(recipe, gradients, weight, steps_per_epoch=1):
  """Returns a weight after each update with the given gradients."""
  network, method = support.network(), Supervised()
  optimizer = recipe.optimizer(steps_per_epoch, network, method)
  params = {'w': jnp.float32(weight)}
  state = optimizer.init(params)
  weights = []
  for gradient in gradients:
    updates, state = optimizer.update(
      {'w': jnp.float32(gradient)}, state, params
    )
    params = optax.apply_updates(params, updates)
    weights.append(float(params['w']))
  return weights


def test_two_sgd_steps_worked_by_hand():
  # d1 = 1 + 0.1·2 = 1.2, b1 = 1.2, w1 = 2 - 0.5·1.2 = 1.4;
  # d2 = -1 + 0.1·1.4 = -0.86, b2 = 0.9·1.2 - 0.86 = 0.22, w2 = 1.4 - 0.11.
  recipe = Recipe(learning_rate=0.5, weight_decay=0.1, decay_at=())
  np.testing.assert_allclose(
    _steps(recipe, [1.0, -1.0], 2.0), [1.4, 1.29], rtol=1e-6
  )


def test_two_nesterov_steps_worked_by_hand():
  # w1 = 2 - 0.5·(1.2 + 0.9·1.2) = 0.86; d2 = -1 + 0.086 = -0.914,
  # b2 = 1.08 - 0.914 = 0.166, w2 = 0.86 - 0.5·(-0.914 + 0.1494) = 1.2423.
  recipe = Recipe(
    learning_rate=0.5, weight_decay=0.1, decay_at=(), nesterov=True
  )
  np.testing.assert_allclose(
    _steps(recipe, [1.0, -1.0], 2.0), [0.86, 1.2423], rtol=1e-5
  )


@pytest.mark.parametrize('nesterov', [False, True])
def test_steps_across_a_decay_match_torch(nesterov):
  torch = pytest.importorskip('torch', reason='PyTorch is not installed')
  gradients = np.random.default_rng(0).normal(size=7)
  recipe = Recipe(
    epochs=4, learning_rate=0.3, decay_at=(0.5, 0.75), nesterov=nesterov
  )
  weight = torch.nn.Parameter(torch.tensor(1.5))
  optimizer = torch.optim.SGD(
    [weight], lr=0.3, momentum=0.9, weight_decay=5e-4, nesterov=nesterov
  )
  schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 3])
  want = []
  for step, gradient in enumerate(gradients):
    weight.grad = torch.tensor(gradient, dtype=torch.float32)
    optimizer.step()
    want.append(weight.item())
    if step % 2:
      schedule.step()
  got = _steps(recipe, gradients, 1.5, steps_per_epoch=2)
  np.testing.assert_allclose(got, want, rtol=1e-5)


def test_default_step_schedule_over_240_epochs():
  rates = [float(Recipe().learning_rate_at(epoch)) for epoch in range(240)]
  want = [0.05] * 150 + [0.005] * 30 + [5e-4] * 30 + [5e-5] * 30
  np.testing.assert_allclose(rates, want, rtol=1e-6)


def test_cosine_schedule_decreases_to_the_final_rate():
  recipe = Recipe(
    epochs=4, schedule='cosine', learning_rate=0.4, final_learning_rate=0.2
  )
  rates = [float(recipe.learning_rate_at(epoch)) for epoch in (0, 1, 2, 4, 9)]
  # 0.2 + 0.1 (1 + cos(π e / 4))
  want = [0.4, 0.3 + 0.1 * 0.5**0.5, 0.3, 0.2, 0.2]
  np.testing.assert_allclose(rates, want, rtol=1e-6)


def test_step_schedule_is_constant_within_epochs():
  recipe = Recipe(
    epochs=2,
    learning_rate=1.0,
    momentum=0.0,
    weight_decay=0.0,
    decay_at=(0.5,),
  )
  weights = _steps(recipe, [1.0] * 6, 0.0, steps_per_epoch=3)
  np.testing.assert_allclose(
    np.diff(weights), [-1, -1, -0.1, -0.1, -0.1], rtol=1e-5
  )


@pytest.mark.parametrize(
  ('setting', 'message'),
  [
    ({'epochs': 0}, 'epochs must be at least 1, got 0'),
    ({'batch_size': 0}, 'batch_size must be at least 1'),
    ({'learning_rate': float('nan')}, 'learning_rate must be positive'),
    ({'learning_rate': 0.0}, 'learning_rate must be positive'),
    ({'weight_decay': -1.0}, 'weight_decay must be zero or more'),
    ({'decay_factor': 0.0}, 'decay_factor must be positive'),
    ({'final_learning_rate': -1.0}, 'final_learning_rate must be zero or more'),
    ({'decay_at': (0.5, 150)}, 'decay_at is in shares of all epochs'),
    ({'momentum': 1.0}, r'momentum must be in \[0, 1\)'),
    ({'ema_decay': -0.1}, r'ema_decay must be in \[0, 1\)'),
  ],
)
def test_invalid_settings_raise_an_error(setting, message):
  with pytest.raises(ValueError, match=message):
    Recipe(**setting)
