"""Distances per class: aggregation, absent classes, single samples."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import losses
from kdjax.losses._per_class import BY_CLASS
from tests.losses import clouds

_DISTANCES = (
  losses.gaussian_jeffreys,
  losses.gaussian_jeffreys_full,
  losses.gaussian_kl,
  losses.gaussian_kl_full,
  losses.gaussian_wasserstein2,
  losses.gaussian_wasserstein2_full,
  losses.mmd_cosine,
  losses.mmd_linear,
  losses.mmd_rbf,
  losses.wasserstein2,
)
_CLASSES = 5


def _batch():
  """Returns a batch with one sample of class 1, and none of 3 and 4."""
  x, y, _ = clouds.make(0, 8, 4, kind='relu')
  return x, y, jnp.array([0, 2, 0, 1, 2, 2, 0, 2])


_by_class = functools.partial(losses.per_class, aggregation=None)


@pytest.mark.slow
@pytest.mark.parametrize(
  'distance', _DISTANCES, ids=[distance.__name__ for distance in _DISTANCES]
)
def test_per_class_values_and_gradients_match_single_classes(distance):
  x, y, labels = _batch()

  def by_class(x):
    return _by_class(distance, x, y, labels, _CLASSES)

  got = jax.jit(by_class)(x)
  pulled = jax.jit(jax.grad(lambda x: jnp.sum(by_class(x))))(x)
  assert got.shape == (_CLASSES,)
  np.testing.assert_array_equal(got[3:], 0)
  for c in range(3):
    members = np.flatnonzero(labels == c)
    value, gradient = jax.value_and_grad(distance)(x[members], y[members])
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
    (None, [2.5, 0, 9, 0]),
  ],
)
def test_aggregation_worked_by_hand(aggregation, want):
  x = jnp.array([[0.0], [1.0], [5.0]])
  y = jnp.array([[1.0], [3.0], [8.0]])
  labels = jnp.array([0, 0, 2])
  got = losses.per_class(
    losses.wasserstein2, x, y, labels, 4, aggregation=aggregation
  )
  np.testing.assert_allclose(got, want, rtol=1e-6)


def test_per_class_transport_does_not_mix_classes():
  # The nearest teacher sample of each student sample is of the other class.
  x, y = jnp.array([[0.0], [10.0]]), jnp.array([[10.0], [0.0]])
  np.testing.assert_allclose(losses.wasserstein2(x, y), 0)
  values = _by_class(losses.wasserstein2, x, y, jnp.array([0, 1]), 2)
  np.testing.assert_allclose(values, [100, 100])


@pytest.mark.slow
def test_auction_is_available_per_class():
  x, y, labels = clouds.make(1, 30, 4, kind='clustered')
  exact, near = (
    _by_class(losses.wasserstein2, x, y, labels, 3, assign=assign)
    for assign in (losses.exact_assignment, losses.auction_assignment)
  )
  np.testing.assert_allclose(near, exact, rtol=5e-3)


def test_settings_are_passed_to_the_distance():
  # One sample per class: the variances are the ridge, the distance is 1.
  x, y = jnp.zeros((2, 1)), jnp.ones((2, 1))
  got = losses.per_class(
    losses.gaussian_kl, x, y, jnp.array([0, 1]), 2, ridge=0.25
  )
  np.testing.assert_allclose(got, 1 / 0.25 / 2, rtol=1e-6)


@pytest.mark.parametrize(
  'distance', _DISTANCES, ids=[distance.__name__ for distance in _DISTANCES]
)
def test_all_classes_are_one_computation(distance):
  # The program for 50 classes has no more operations than that for 2.
  x, y, labels = _batch()
  counts = [
    str(
      jax.make_jaxpr(
        lambda x, n=classes: losses.per_class(distance, x, y, labels, n)
      )(x)
    ).count(' = ')
    for classes in (2, 50)
  ]
  assert counts[0] == counts[1] > 10


def test_defaults_per_class_are_those_of_the_distance():
  assert tuple(BY_CLASS) == _DISTANCES
  for distance, by_class in BY_CLASS.items():
    whole, part = map(inspect.getfullargspec, (distance, by_class))
    defaults = part.kwonlydefaults or {}
    assert set(defaults) == set(part.kwonlyargs)
    assert defaults.items() <= (whole.kwonlydefaults or {}).items()


def test_invalid_arguments_raise_errors():
  x, y, labels = _batch()
  w2 = functools.partial(
    losses.per_class, losses.wasserstein2, classes=_CLASSES
  )
  with pytest.raises(ValueError, match=r"mean_present.*got 'median'"):
    w2(x, y, labels, aggregation='median')
  with pytest.raises(ValueError, match=r'one label per sample, \[8\].*\(8, 5'):
    w2(x, y, jnp.zeros((8, 5)))
  with pytest.raises(ValueError, match=r'wasserstein2.*\(8, 4\).*\(7, 4\)'):
    w2(x, y[:7], labels)
  with pytest.raises(ValueError, match='accepts the settings assign, got r'):
    w2(x, y, labels, ridge=1.0)
  with pytest.raises(ValueError, match=r'settings \(none\), got ridge'):
    losses.per_class(losses.mmd_linear, x, y, labels, _CLASSES, ridge=1.0)


@pytest.mark.parametrize(
  'distance',
  [losses.paired_distance, functools.partial(losses.gaussian_kl, ridge=1.0)],
)
def test_unknown_distance_raises_an_error_with_the_known_ones(distance):
  x, y, labels = _batch()
  known = ', '.join(sorted(known.__name__ for known in _DISTANCES))
  with pytest.raises(ValueError, match=f'one of the distances {known},'):
    losses.per_class(distance, x, y, labels, _CLASSES)
