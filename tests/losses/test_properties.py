"""Theoretical properties of the KD²M distances, on random batches.

The numbers in the names are those of this list: chain of inequalities, joint
transport, head bound, metric axioms, permutations, common motions, closed
forms, equal batches, entropic transport.
"""

import functools
import itertools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from kdjax import losses
from tests.losses import clouds

_N, _D, _CLASSES = 12, 5, 3

batches = st.builds(
  functools.partial(clouds.make, n=_N, d=_D, classes=_CLASSES),
  seed=st.integers(0, 10**6),
  kind=st.sampled_from(clouds.KINDS),
)
few = hypothesis.settings(max_examples=8, deadline=None, derandomize=True)


def _weighted(distance):
  """Returns the class-conditional form for which the chain holds."""

  def form(student, teacher, labels):
    return losses.per_class(
      distance, student, teacher, labels, _CLASSES, aggregation='weighted'
    )

  return jax.jit(form)


linear = jax.jit(losses.mmd_linear)
rbf = jax.jit(losses.mmd_rbf)
diagonal = jax.jit(losses.gaussian_wasserstein2)
full = jax.jit(losses.gaussian_wasserstein2_full)
w2 = jax.jit(losses.wasserstein2)
paired = jax.jit(losses.paired_distance)
kl = jax.jit(losses.gaussian_kl)
kl_full = jax.jit(losses.gaussian_kl_full)
jeffreys = jax.jit(losses.gaussian_jeffreys)
cw2 = _weighted(losses.wasserstein2)

DISTANCES = {
  'mmd_linear': linear,
  'mmd_rbf': rbf,
  'w2_gauss': diagonal,
  'w2_gauss_full': full,
  'w2': w2,
}


def _close(got, want, scale):
  np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5 * scale)


@few
@hypothesis.given(batches)
def test_1_distances_are_ordered(batch):
  student, teacher, labels = batch
  chain = [
    linear(student, teacher),
    diagonal(student, teacher),
    full(student, teacher),
    w2(student, teacher),
    cw2(student, teacher, labels),
    paired(student, teacher),
  ]
  slack = 1e-5 * clouds.largest_term(student, teacher)
  assert all(a <= b + slack for a, b in itertools.pairwise(chain)), chain


@jax.jit
def _joint(student, teacher, label_cost, beta):
  # beta scales the matrix, so that one program serves every beta.
  return losses.joint_wasserstein2(
    student, teacher, beta * label_cost, beta=1.0
  )


def _label_cost(seed, labels, name):
  rng = np.random.default_rng(seed)
  student, teacher = rng.normal(size=(2, _N, _CLASSES)).astype(np.float32)
  return _LABEL_COSTS[name](student, teacher, labels)


_LABEL_COSTS = {
  name: jax.jit(label_cost) for name, label_cost in losses.LABEL_COSTS.items()
}


@few
@hypothesis.given(
  batches, st.integers(0, 9), st.sampled_from(sorted(losses.LABEL_COSTS))
)
def test_2_joint_transport_is_increasing_and_concave_in_beta(batch, seed, name):
  student, teacher, labels = batch
  label_cost = _label_cost(seed, labels, name)
  slack = 2e-5 * clouds.largest_term(student, teacher)
  plain = w2(student, teacher)
  betas = jnp.array([0.0, 1.0, 2.0, 3.0])
  values = np.array(
    [_joint(student, teacher, label_cost, beta) for beta in betas]
  )
  np.testing.assert_allclose(values[0], plain, rtol=1e-5)
  steps = np.diff(values)
  assert np.all(steps >= -slack)
  assert np.all(np.diff(steps) <= slack)
  cheapest = _joint(0 * student, 0 * teacher, label_cost, 1.0)
  identity = paired(student, teacher) + 3 * np.trace(label_cost) / _N
  assert plain + 3 * cheapest - slack <= values[3] <= identity + slack


@few
@hypothesis.given(batches)
def test_2_joint_transport_with_large_beta_is_class_conditional(batch):
  student, teacher, labels = batch
  label_cost = _LABEL_COSTS['hard01'](student, teacher, labels)
  beta = clouds.largest_term(student, teacher) * _N  # beyond any distance
  got = _joint(student, teacher, label_cost, beta)
  np.testing.assert_allclose(got, cw2(student, teacher, labels), rtol=1e-5)


@few
@hypothesis.given(batches, st.integers(0, 10**6))
def test_3_distance_bounds_the_difference_of_heads(batch, seed):
  student, teacher, _ = batch
  direction = np.random.default_rng(seed).normal(size=_D)
  direction /= np.linalg.norm(direction)
  for head in (lambda z: z @ direction, lambda z: np.abs(z @ direction - 1)):
    apart = np.mean(head(np.asarray(student))) - np.mean(
      head(np.asarray(teacher))
    )
    assert abs(apart) <= np.sqrt(w2(student, teacher)) * (1 + 1e-5)


@pytest.mark.parametrize('name', DISTANCES)
@few
@hypothesis.given(batches, st.integers(0, 10**6))
def test_4_square_roots_are_metrics(name, batch, seed):
  distance = DISTANCES[name]
  x, y, _ = batch
  z, _, _ = clouds.make(seed, _N, _D, kind='relu')
  scale = 1.0 if name == 'mmd_rbf' else clouds.largest_term(x, y, z)
  _close(distance(x, y), distance(y, x), scale)
  if name == 'mmd_rbf':  # with the default, the bandwidth differs by pair
    distance = jax.jit(functools.partial(losses.mmd_rbf, bandwidth=2.0))
  sides = [distance(*pair) for pair in ((x, z), (x, y), (y, z))]
  xz, xy, yz = (np.sqrt(max(float(side), 0)) for side in sides)
  assert xz <= xy + yz + 1e-3 * np.sqrt(scale)
  assert xy > 0


@few
@hypothesis.given(batches)
def test_4_divergences_are_positive_and_jeffreys_is_symmetric(batch):
  x, y, _ = batch
  for divergence in (kl, kl_full):
    assert divergence(x, y) > 0
    assert divergence(y, x) > 0
  both = kl(x, y) + kl(y, x)
  np.testing.assert_allclose(jeffreys(x, y), both, rtol=1e-4)
  np.testing.assert_allclose(jeffreys(x, y), jeffreys(y, x), rtol=1e-5)


@pytest.mark.parametrize('name', [*DISTANCES, 'kl', 'kl_full'])
@few
@hypothesis.given(batches, st.integers(0, 10**6))
def test_5_distance_is_invariant_to_sample_order(name, batch, seed):
  distance = {**DISTANCES, 'kl': kl, 'kl_full': kl_full}[name]
  x, y, _ = batch
  order = np.random.default_rng(seed).permutation(_N)
  value, gradient = jax.value_and_grad(distance)(x, y)
  moved, moved_gradient = jax.value_and_grad(distance)(x[order], y)
  np.testing.assert_allclose(moved, value, rtol=1e-4, atol=1e-5)
  if name == 'w2' and np.any(x == 0):
    return  # common zeros can be exchanged: several plans are optimal
  size = np.max(np.abs(gradient))
  np.testing.assert_allclose(
    moved_gradient, gradient[order], atol=2e-3 * size + 1e-6
  )


@few
@hypothesis.given(batches, st.integers(0, 10**6))
def test_5_per_class_distance_is_invariant_to_image_order(batch, seed):
  x, y, labels = batch
  order = np.random.default_rng(seed).permutation(_N)
  for form in _FORMS:
    got = form(x[order], y[order], labels[order])
    np.testing.assert_allclose(got, form(x, y, labels), rtol=1e-4, atol=1e-5)


_FORMS = [
  cw2,
  *map(
    _weighted,
    (
      losses.gaussian_wasserstein2,
      losses.gaussian_wasserstein2_full,
      losses.mmd_rbf,
    ),
  ),
]
