"""What changes with the epoch changes in its first step."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.methods import Fcfd, Icd, Supervised, Updates
from kdjax.methods.schedules import value_at, warm_up
from kdjax.train import StagedRecipe, train_step
from kdjax.train.stages import aligned
from kdjax.train.step import step_keys
from tests.methods.support import context
from tests.train import support

PER_EPOCH = 3
# Steps completed before a step, and epochs completed before it.
EDGES = {0: 0, 2: 0, 3: 1, 5: 1, 6: 2}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reporting(Supervised):
  """A method whose terms are what its context says."""

  def terms(self, variables, student, teacher, batch, context):
    values = {
      'epoch': context.epoch,
      'step': context.step.astype(jnp.float32),
      'stepped': value_at(((1, 5.0), (2, 7.0)), context.epoch),
      'warm': warm_up(2)(context.epoch),
    }
    return values, Updates()


@pytest.fixture(scope='module')
def start():
  """What a step is made of, and the state before the first."""
  made = support.parts(Reporting(task_weight=((1, 0.5),)))
  assert made.steps_per_epoch == PER_EPOCH
  return made, support.first_state(made)


@pytest.fixture(scope='module')
def reports(start) -> dict[int, dict[str, float]]:
  """Terms of the steps around the ends of two epochs."""
  (made, state), batch = start, support.first_batch()
  run = jax.jit(functools.partial(train_step, parts=made))
  reports = {}
  for step in EDGES:
    now = dataclasses.replace(state, step=jnp.int32(step))
    _, metrics = run(now, {}, batch)
    terms = {k: v for k, v in metrics.items() if k.startswith('terms/')}
    reports[step] = {k.removeprefix('terms/'): float(terms[k]) for k in terms}
  return reports


@pytest.mark.parametrize(('step', 'epoch'), EDGES.items())
def test_context_has_the_epochs_completed(reports, step, epoch):
  assert (reports[step]['step'], reports[step]['epoch']) == (step, epoch)


def test_stepped_weights_and_warm_ups_change_with_the_epoch(reports):
  stepped = [reports[step]['stepped'] for step in EDGES]
  assert stepped == [0, 0, 5, 5, 7]
  assert [reports[step]['warm'] for step in EDGES] == [0.5, 0.5, 1, 1, 1]
  task = [reports[step]['task'] > 0 for step in EDGES]
  assert task == [False, False, True, True, True]


def test_the_task_term_is_its_weight_times_the_mean_loss(start, reports):
  made, state = start

  @jax.jit
  def logits(step):
    augment_key, _ = step_keys(state.key, step)
    images = made.augment(augment_key, support.first_batch())['image']
    return made.student.apply(state.student_variables, images, train=True)[
      0
    ].logits

  odds = np.exp(logits(3))
  shares = odds / odds.sum(1, keepdims=True)
  labels = np.asarray(support.first_batch()['label'])
  want = -np.log(shares[np.arange(len(labels)), labels]).mean()
  np.testing.assert_allclose(reports[3]['task'], 0.5 * want, rtol=1e-5)


def test_fcfd_warms_its_feature_losses_up_by_epochs():
  method = Fcfd(feature_weight=5.0, mixed_weight=((1, 2.0),), warmup_epochs=20)
  weights = [method.weights(jnp.float32(epoch)) for epoch in (0, 1, 18, 19, 20)]
  features = [float(weight['features']) for weight in weights]
  np.testing.assert_allclose(features, [0.25, 0.5, 4.75, 5, 5], rtol=1e-6)
  assert [float(weight['mixed']) for weight in weights] == [0, 2, 2, 2, 2]


class Constant(Supervised):
  """One term of 1."""

  def terms(self, variables, student, teacher, batch, context):
    return {'one': jnp.ones(())}, Updates()


def test_the_alignment_ends_with_its_last_epoch():
  method = aligned(Constant(), epochs=2, factor=3.0)
  nothing: Any = None
  for epoch, value, active in ((0, 3, False), (1, 3, False), (2, 1, True)):
    terms, updates = method.terms(nothing, nothing, nothing, {}, context(epoch))
    assert float(terms['one']) == value
    assert bool(updates.student_active) == active
    assert float(value_at(method.task_weight, epoch)) == float(active)
  assert method.stage_starts == (2,)


def test_the_optimizer_is_reset_after_the_alignment():
  recipe = StagedRecipe(
    epochs=2,
    learning_rate=0.1,
    weight_decay=0.0,
    decay_at=(),
    align_epochs=2,
  )
  method = recipe.staged(Icd())
  optimizer = recipe.optimizer(PER_EPOCH, support.network(), method)
  params = {'w': jnp.zeros(2)}
  state, changes = optimizer.init(params), []
  for _ in range(2 * PER_EPOCH + 2):
    change: Any
    change, state = optimizer.update({'w': jnp.ones(2)}, state, params)
    changes.append(float(change['w'][0]) / -0.1)
  # The sums of 0.9^k of the steps of either stage.
  momentum = [(1 - 0.9**n) / 0.1 for n in range(1, 2 * PER_EPOCH + 1)]
  np.testing.assert_allclose(changes, [*momentum, 1.0, 1.9], rtol=1e-5)
