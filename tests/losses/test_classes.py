"""Class-conditional forms: aggregation, absent classes, single samples."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import losses
from tests.losses import clouds

_PER_CLASS = {
  losses.wasserstein2_per_class: losses.wasserstein2,
  losses.gaussian_wasserstein2_per_class: losses.gaussian_wasserstein2,
  losses.gaussian_kl_per_class: losses.gaussian_kl,
  losses.gaussian_kl_full_per_class: losses.gaussian_kl_full,
  losses.gaussian_jeffreys_per_class: losses.gaussian_jeffreys,
  losses.gaussian_jeffreys_full_per_class: losses.gaussian_jeffreys_full,
  losses.mmd_linear_per_class: losses.mmd_linear,
  losses.mmd_cosine_per_class: losses.mmd_cosine,
  losses.mmd_rbf_per_class: losses.mmd_rbf,
}
_CLASSES = 5


def _batch():
  """Class 1 has one sample, classes 3 and 4 none."""
  x, y, _ = clouds.make(0, 8, 4, kind='relu')
  return x, y, jnp.array([0, 2, 0, 1, 2, 2, 0, 2])


@pytest.mark.slow
@pytest.mark.parametrize(
  ('per_class', 'alone'),
  _PER_CLASS.items(),
  ids=[per_class.__name__ for per_class in _PER_CLASS],
)
def test_each_class_as_if_alone(per_class, alone):
  x, y, labels = _batch()

  def by_class(x):
    return per_class(x, y, labels, _CLASSES)

  got = jax.jit(by_class)(x)
  pulled = jax.jit(jax.grad(lambda x: jnp.sum(by_class(x))))(x)
  assert got.shape == (_CLASSES,)
  np.testing.assert_array_equal(got[3:], 0)
  for c in range(3):
    members = np.flatnonzero(labels == c)
    value, gradient = jax.value_and_grad(alone)(x[members], y[members])
    np.testing.assert_allclose(got[c], value, rtol=1e-4)
    np.testing.assert_allclose(pulled[members], gradient, rtol=5e-3, atol=1e-3)


@pytest.mark.parametrize(
  ('aggregation', 'want'),
  [
    # Squared distances 1, 4 (one class) and 9 (another), of four classes.
    ('mean_present', (2.5 + 9) / 2),
    ('mean_all', (2.5 + 9) / 4),
    ('sum', 2.5 + 9),
    ('weighted', (1 + 4 + 9) / 3),
  ],
)
def test_aggregations(aggregation, want):
  x = jnp.array([[0.0], [1.0], [5.0]])
  y = jnp.array([[1.0], [3.0], [8.0]])
  got = losses.class_conditional(
    x,
    y,
    jnp.array([0, 0, 2]),
    distance=losses.wasserstein2_per_class,
    classes=4,
    aggregation=aggregation,
  )
  np.testing.assert_allclose(got, want, rtol=1e-6)


def test_plain_transport_crosses_classes_and_this_does_not():
  # The nearest teacher's sample of each student's belongs to the other class.
  x, y = jnp.array([[0.0], [10.0]]), jnp.array([[10.0], [0.0]])
  np.testing.assert_allclose(losses.wasserstein2(x, y), 0)
  values = losses.wasserstein2_per_class(x, y, jnp.array([0, 1]), 2)
  np.testing.assert_allclose(values, [100, 100])


@pytest.mark.slow
def test_auction_serves_the_classes_too():
  x, y, labels = clouds.make(1, 30, 4, kind='clustered')
  exact, near = (
    losses.wasserstein2_per_class(x, y, labels, 3, assign=assign)
    for assign in (losses.exact_assignment, losses.auction_assignment)
  )
  np.testing.assert_allclose(near, exact, rtol=5e-3)


def test_messages():
  x, y, labels = _batch()
  conditional = functools.partial(
    losses.class_conditional,
    distance=losses.wasserstein2_per_class,
    classes=_CLASSES,
  )
  with pytest.raises(ValueError, match=r"mean_present.*got 'median'"):
    conditional(x, y, labels, aggregation='median')
  with pytest.raises(ValueError, match=r'one label per sample, \[8\].*\(8, 5'):
    conditional(x, y, jnp.zeros((8, 5)))
  with pytest.raises(ValueError, match=r'\(8, 4\).*\(7, 4\)'):
    conditional(x, y[:7], labels)
