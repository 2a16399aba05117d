"""Solvers of the assignment problem and the transport problem."""

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

_SOLVERS = {
  'exact': losses.exact_assignment,
  'auction': losses.auction_assignment,
}
solvers = pytest.mark.parametrize('solve', _SOLVERS.values(), ids=_SOLVERS)


def _mean_cost(cost, columns):
  return np.asarray(cost)[np.arange(len(cost)), columns].mean()


def _is_permutation(columns):
  return sorted(np.asarray(columns).tolist()) == list(range(len(columns)))


def _costs(seed, n, kind):
  rng = np.random.default_rng(seed)
  if kind == 'integers':  # many ties
    return jnp.asarray(rng.integers(0, 4, (n, n)), jnp.float32)
  if kind == 'negative':
    return jnp.asarray(rng.normal(size=(n, n)), jnp.float32)
  points = rng.normal(size=(2, n, 1))
  return jnp.asarray((points[0] - points[1].T) ** 2, jnp.float32)


@hypothesis.settings(max_examples=30, deadline=None, derandomize=True)
@hypothesis.given(
  st.integers(0, 10**6), st.sampled_from(['integers', 'negative', 'line'])
)
def test_exact_assignment_is_the_best_permutation(seed, kind):
  cost = _costs(seed, 5, kind)
  columns, gap, _ = losses.exact_assignment(cost)
  best = min(
    _mean_cost(cost, list(p)) for p in itertools.permutations(range(5))
  )
  assert _is_permutation(columns)
  np.testing.assert_allclose(_mean_cost(cost, columns), best, atol=1e-5)
  assert abs(gap) < 1e-5


@solvers
@pytest.mark.parametrize('n', [1, 60])
def test_one_dimensional_assignment_sorts(solve, n):
  rng = np.random.default_rng(n)
  x, y = rng.normal(size=(2, n))
  cost = jnp.asarray((x[:, None] - y) ** 2, jnp.float32)
  columns, gap, _ = solve(cost)
  assert _is_permutation(columns)
  best = np.mean((np.sort(x) - np.sort(y)) ** 2)
  excess = _mean_cost(cost, columns) - best
  assert -1e-5 <= excess <= gap + 1e-5
  assert gap <= 2e-4 * cost.mean() + 1e-5


def test_gap_bounds_the_error_of_a_short_auction():
  cost = _costs(0, 60, 'negative')
  columns, gap, steps = losses.auction_assignment(cost, rounds=3)
  best = _mean_cost(cost, losses.exact_assignment(cost).columns)
  assert _is_permutation(columns)
  excess = _mean_cost(cost, columns) - best
  assert 0.01 < excess <= gap + 1e-5
  assert steps == 3


@pytest.mark.slow
def test_exact_distance_is_within_the_gap():
  x, y, _ = clouds.make(0, 40, 5)
  for rounds in (3, 5000):
    assign = functools.partial(losses.auction_assignment, rounds=rounds)
    value = losses.wasserstein2(x, y, assign=assign)
    gap = losses.wasserstein2_gap(x, y, assign=assign)
    best = losses.wasserstein2(x, y)
    assert value - gap - 1e-4 <= best <= value + 1e-4
  assert gap <= 1e-3 * best
  # Batches of different sizes are always solved exactly.
  assert losses.wasserstein2_gap(x, y[:9], assign=assign) == 0


@solvers
@pytest.mark.parametrize('fault', [np.nan, np.inf, 1e38])
def test_non_finite_costs_still_give_a_permutation(solve, fault):
  cost = _costs(0, 6, 'negative')
  for broken in (cost.at[2, 3].set(fault), jnp.full_like(cost, fault)):
    assert _is_permutation(solve(broken).columns)


@solvers
def test_equal_costs_have_no_gap(solve):
  columns, gap, _ = solve(jnp.zeros((4, 4)))
  assert _is_permutation(columns)
  assert gap == 0


@solvers
def test_vmapped_problems_match_single_ones(solve):
  # Some need no search, others several rounds.
  costs = jnp.stack([_costs(seed, 8, 'line') for seed in range(5)])
  costs = costs.at[0].set(1 - jnp.eye(8))
  got = jax.jit(jax.vmap(solve))(costs).columns
  for cost, columns in zip(costs, got):
    np.testing.assert_array_equal(columns, solve(cost).columns)


@solvers
def test_non_square_costs_raise_an_error(solve):
  with pytest.raises(ValueError, match=r'square.*\(3, 4\)'):
    solve(jnp.zeros((3, 4)))


def test_zero_tolerance_raises_an_error():
  with pytest.raises(ValueError, match='tolerance must be positive, got 0'):
    losses.auction_assignment(jnp.zeros((3, 3)), tolerance=0)


@pytest.mark.parametrize(('n', 'm'), [(1, 4), (6, 4), (5, 7)])
def test_transport_plan_matches_the_assignment_of_copies(n, m):
  rng = np.random.default_rng(n)
  cost = jnp.asarray(rng.normal(size=(n, m)) ** 2, jnp.float32)
  plan = losses.transport_plan(cost)
  np.testing.assert_allclose(plan.sum(axis=1), 1 / n, rtol=1e-6)
  np.testing.assert_allclose(plan.sum(axis=0), 1 / m, rtol=1e-6)
  # The same problem with repeated samples, so that the sizes are equal.
  size = np.lcm(n, m)
  copies = np.repeat(np.repeat(cost, size // n, 0), size // m, 1)
  columns = losses.exact_assignment(jnp.asarray(copies)).columns
  want = _mean_cost(copies, columns)
  np.testing.assert_allclose(np.sum(plan * cost), want, rtol=1e-5)


def test_vmapped_transport_plans_match_single_ones():
  rng = np.random.default_rng(0)
  costs = jnp.asarray(rng.normal(size=(4, 6, 4)), jnp.float32)
  got = jax.jit(jax.vmap(losses.transport_plan))(costs)
  for cost, plan in zip(costs, got):
    np.testing.assert_allclose(plan, losses.transport_plan(cost), atol=1e-6)


def test_transport_sizes_beyond_int32_raise_an_error():
  cost = jax.ShapeDtypeStruct((65537, 65536), jnp.float32)
  with pytest.raises(ValueError, match='65537, 65536'):
    jax.eval_shape(losses.transport_plan, cost)
