"""Both sides of KD²M's theorem, and their observation."""

import functools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from kdjax import losses
from kdjax.features import Features
from kdjax.methods import Kd2m, Pass, create, kd2m_bound
from kdjax.methods.kd2m_bound import AffineHead
from tests.losses import clouds

_N, _D, _CLASSES = 12, 5, 4
_ROUNDING = 1e-6  # of a mean of probabilities, in float32

batches = st.builds(
  functools.partial(clouds.make, n=_N, d=_D),
  seed=st.integers(0, 10**6),
  kind=st.sampled_from(clouds.KINDS),
)
scales = st.sampled_from([0.01, 0.1, 1.0, 10.0, 100.0])
few = hypothesis.settings(max_examples=25, deadline=None, derandomize=True)

distances = jax.jit(kd2m_bound.feature_distances)
risks = jax.jit(kd2m_bound.head_risks)


def _head(seed, scale=1.0, width=_D, classes=_CLASSES):
  keys = jax.random.split(jax.random.key(seed))
  return AffineHead(
    scale * jax.random.normal(keys[0], (classes, width)),
    scale * jax.random.normal(keys[1], (classes,)),
  )


def _pass(embedding, head=None):
  """Returns a pass with the logits of the head."""
  known = _head(0, width=embedding.shape[1]) if head is None else head
  return Pass(
    features=Features((), (), (), embedding, known(embedding)),
    variables={},
    run_tail=lambda variables, hidden, start: None,
    run_head=lambda variables, embedding: known(embedding),
    has_head=head is not None,
  )


def _observe(student, teacher, method=None, widths=(_D, _D)):
  x, y, _ = clouds.make(3, _N, max(widths), kind='clustered')
  passes = _pass(x[:, : widths[0]], student), _pass(y[:, : widths[1]], teacher)
  variables = {'params': {}, 'state': {}}
  if method is not None and method.projection == 'linear':
    layer = {'kernel': jnp.ones(widths), 'bias': jnp.zeros(widths[1])}
    variables = {'params': {'projection': layer}, 'state': {}}
  observed = (method or Kd2m()).observe(variables, *passes, {})
  assert set(observed) == {'bound'}
  return observed['bound']


@few
@hypothesis.given(batches, st.integers(0, 10**6), scales, scales)
def test_distance_bounds_the_difference_of_risks(batch, seed, sharp, other):
  student, teacher, _ = batch
  right = distances(student, teacher)
  left = risks(student, teacher, _head(seed, sharp), _head(seed + 1, other))
  gap = abs(left['risk_student'] - left['risk_teacher'])
  assert gap <= (1 + 1e-5) * left['lipschitz'] * right['w2'] + _ROUNDING
  assert right['w2'] <= right['paired']
  np.testing.assert_allclose(
    left['risk_gap'] * left['lipschitz'], gap, rtol=1e-5, atol=1e-7
  )


@few
@hypothesis.given(
  st.integers(0, 10**6), st.sampled_from([0.001, 0.1, 1.0, 10.0])
)
def test_loss_is_lipschitz_in_one_feature(seed, size):
  # With one sample each, the bound is the Lipschitz condition.
  keys = jax.random.split(jax.random.key(seed))
  start = jax.random.normal(keys[0], (1, _D))
  end = start + size * jax.random.normal(keys[1], (1, _D))
  left = risks(start, end, _head(seed, 3.0), _head(seed + 1, 0.1))
  gap = abs(left['risk_student'] - left['risk_teacher'])
  reach = left['lipschitz'] * jnp.linalg.norm(end - start)
  assert gap <= (1 + 1e-5) * reach + _ROUNDING


def test_lipschitz_constant_is_attained():
  # Two classes: probability p(z) = 1 / (1 + exp(-6 z)) with slope 6 / 4 at
  # zero, and a teacher that always predicts the second class.
  head = AffineHead(jnp.array([[6.0], [0.0]]), jnp.zeros(2))
  certain = AffineHead(jnp.zeros((2, 1)), jnp.array([0.0, 60.0]))
  step = jnp.array([[0.01]])
  found = risks(step, jnp.zeros((1, 1)), head, certain)
  assert float(found['lipschitz']) == pytest.approx(1.5)
  assert float(found['risk_teacher']) == pytest.approx(0.5)
  assert float(found['risk_gap']) == pytest.approx(0.01, rel=1e-3)


def test_risks_worked_by_hand():
  # Probabilities (3/4, 1/4) and (1/2, 1/2) of the student, (1/4, 3/4) of the
  # teacher.
  head = AffineHead(jnp.array([[np.log(3.0)], [0.0]]), jnp.zeros(2))
  even = AffineHead(jnp.zeros((2, 1)), jnp.zeros(2))
  student, teacher = jnp.array([[1.0], [0.0]]), jnp.array([[-1.0], [-1.0]])
  found = risks(student, teacher, head, even)
  assert float(found['risk_student']) == pytest.approx(0.125)
  assert float(found['risk_teacher']) == pytest.approx(0.25)
  assert float(found['lipschitz']) == pytest.approx(np.log(3.0) / 4)
  assert float(found['risk_gap']) == pytest.approx(0.5 / np.log(3.0))


def test_distances_are_square_roots_of_the_losses():
  student, teacher, _ = clouds.make(1, _N, _D, kind='gaussian')
  found = distances(student, teacher)
  for name, loss in (
    ('w2', losses.wasserstein2),
    ('paired', losses.paired_distance),
  ):
    np.testing.assert_allclose(
      found[name], jnp.sqrt(loss(student, teacher)), rtol=1e-6
    )
  shuffled = distances(student, student[::-1])
  np.testing.assert_allclose(shuffled['w2'], 0, atol=1e-5)
  assert shuffled['paired'] > 1


def test_distance_and_gap_of_equal_embeddings_are_zero():
  x, _, _ = clouds.make(2, _N, _D, kind='gaussian')
  found = {**distances(x, x), **risks(x, x, _head(1), _head(2))}
  assert found['w2'] == found['paired'] == found['risk_gap'] == 0
  assert found['risk_student'] > 0


def test_constant_heads_have_no_gap():
  x, y, _ = clouds.make(2, _N, _D, kind='gaussian')
  still = AffineHead(jnp.zeros((_CLASSES, _D)), jnp.arange(_CLASSES * 1.0))
  found = risks(x, y, still, still)
  assert found['lipschitz'] == found['risk_gap'] == 0


def test_affine_head_is_recovered_in_any_precision():
  rows = jax.random.normal(jax.random.key(0), (_N, _D))
  wanted = _head(3)
  found = kd2m_bound.affine_head(wanted, rows)
  np.testing.assert_allclose(found.kernel, wanted.kernel, rtol=1e-6)
  np.testing.assert_allclose(found.bias, wanted.bias, rtol=1e-6)

  def short(embedding):
    kernel = wanted.kernel.astype(jnp.bfloat16)
    product = embedding.astype(jnp.bfloat16) @ kernel.T
    return product + wanted.bias.astype(jnp.bfloat16)

  found = kd2m_bound.affine_head(short, rows)
  assert found.kernel.dtype == jnp.float32
  np.testing.assert_allclose(found.kernel, wanted.kernel, rtol=1e-2)


@pytest.mark.parametrize(
  'head',
  [
    lambda z: jnp.tanh(_head(3)(z)),
    lambda z: _head(3)(z / jnp.linalg.norm(z, axis=-1, keepdims=True)),
  ],
  ids=['bent', 'cosine'],
)
def test_risks_of_non_affine_heads_are_nan(head):
  found = _observe(head, _head(4))
  assert np.isfinite([found['w2'], found['paired']]).all()
  assert np.isnan([found['risk_gap'], found['lipschitz']]).all()


def test_both_sides_are_observed():
  found = _observe(_head(3), _head(4))
  assert set(found) == {
    *('w2', 'paired', 'lipschitz'),
    *('risk_student', 'risk_teacher', 'risk_gap'),
  }
  assert 0 < found['risk_gap'] <= found['w2'] <= found['paired']


@pytest.mark.parametrize(
  ('student', 'teacher', 'method', 'widths'),
  [
    (None, _head(4), Kd2m(), (_D, _D)),
    (_head(3), None, Kd2m(), (_D, _D)),
    (_head(3), _head(4, classes=7), Kd2m(), (_D, _D)),
    (_head(3, width=3), _head(4), Kd2m(projection='linear'), (3, _D)),
    (_head(3), _head(4), Kd2m(projection='linear'), (_D, _D)),
  ],
  ids=['no head', 'no teacher head', 'classes', 'projected', 'same width'],
)
def test_only_distances_are_observed_if_heads_are_not_comparable(
  student, teacher, method, widths
):
  found = _observe(student, teacher, method, widths)
  assert set(found) == {'w2', 'paired'}
  assert 0 < found['w2'] <= found['paired']


def test_gap_of_the_auction_is_observed():
  found = _observe(_head(3), _head(4), Kd2m(solver='auction'))
  # Its tolerance is a fraction of the mean cost of all pairs.
  x, y, _ = clouds.make(3, _N, _D, kind='clustered')
  mean = np.mean(np.sum((x[:, None] - y) ** 2, axis=-1))
  assert -1e-6 <= found['solver_gap'] <= 1.1e-4 * mean / found['w2'] ** 2


def test_combination_observes_like_its_methods():
  assert not create('kd').observes
  assert not create('kd+icd').observes
  method = create('kd+kd2m')
  assert method.observes
  variables = {kind: {'kd': {}, 'kd2m': {}} for kind in ('params', 'state')}
  x, y, _ = clouds.make(3, _N, _D, kind='gaussian')
  passes = _pass(x, _head(3)), _pass(y, _head(4))
  found = method.observe(variables, *passes, {})
  alone = create('kd2m').observe({'params': {}, 'state': {}}, *passes, {})
  assert found == alone
