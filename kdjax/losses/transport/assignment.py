"""Exact solver of the assignment problem, on the device and inside `jit`."""

# pyright: reportUnknownMemberType=false

from typing import NamedTuple

import jax
import jax.numpy as jnp

from kdjax.losses.numerics import replicated

_FREE = -1


class Assignment(NamedTuple):
  """Solution of an assignment problem with a bound of its error.

  Attributes:
    columns: int32 `[n]`, the column of each row: a permutation.
    gap: `[]`, a certified bound of the error: the mean cost of a pair minus a
      lower bound of the optimum from feasible prices. Zero, up to rounding, if
      the solution is optimal.
    steps: int32 `[]`, number of sequential steps, which determines the time on
      an accelerator, independently of their size.
  """

  columns: jax.Array
  gap: jax.Array
  steps: jax.Array


class _State(NamedTuple):
  """A partial matching with prices.

  `row_price[i] + column_price[j] <= cost[i, j]`, with equality for matched
  pairs.
  """

  row_price: jax.Array
  column_price: jax.Array
  row_of: jax.Array  # of each column, or _FREE
  column_of: jax.Array  # of each row, or _FREE
  steps: jax.Array  # int32 []


class _Search(NamedTuple):
  """Dijkstra's search from a free row for the nearest free column."""

  row: jax.Array  # to be expanded next; _FREE once a free column is reached
  column: jax.Array  # reached last
  distance: jax.Array  # to that column
  open: jax.Array  # [n] distances of the columns not reached yet, else inf
  price: jax.Array  # [n] column prices; -inf if reached, which excludes it
  reached: jax.Array  # [n] distances of the columns reached, else inf
  previous: jax.Array  # [n] row from which each column is reached
  steps: jax.Array  # int32 [], since the first search


@jax.jit
def exact_assignment(cost: jax.Array) -> Assignment:
  r"""Computes a permutation of minimal total cost.

  .. math::
    \min_\sigma \sum_i C_{i \sigma(i)}

  by shortest augmenting paths. Columns, then rows are reduced, and tight pairs
  that do not conflict are matched. From each remaining row Dijkstra's
  algorithm on reduced costs finds the cheapest augmenting path. The worst case
  is `O(n^3)`, in sequential steps of `O(n)`.

  Args:
    cost: Float `[n, n]`. Entries that are not finite, or beyond 1e30, count as
      zero so that the search terminates; the value of the caller shows them.
      Receives no gradient.

  Returns:
    The optimal `Assignment`.

  Raises:
    ValueError: If `cost` is not square.

  References:
    Jonker and Volgenant, `A shortest augmenting path algorithm for dense and
    sparse linear assignment problems
    <https://doi.org/10.1007/BF02278710>`_, 1987.
  """
  cost = square_cost(cost)
  state = jax.lax.while_loop(
    lambda state: jnp.any(state.column_of == _FREE),
    lambda state: _augment(cost, state),
    _reduce(cost),
  )
  return with_gap(cost, state.column_of, state.column_price, state.steps)


def finite_cost(cost: jax.Array) -> jax.Array:
  """Prepares a cost for a search.

  Args:
    cost: Float array.

  Returns:
    The cost without gradient, replicated on every device; entries that are not
    finite or beyond 1e30 are zero, so that sums of entries are finite.
  """
  cost = jax.lax.stop_gradient(cost)
  return replicated(jnp.where(jnp.abs(cost) < 1e30, cost, 0))


def square_cost(cost: jax.Array) -> jax.Array:
  """Prepares a square cost for a search.

  Args:
    cost: Float `[n, n]`.

  Returns:
    `finite_cost` of it.

  Raises:
    ValueError: If `cost` is not square.
  """
  if cost.ndim != 2 or cost.shape[0] != cost.shape[1]:
    raise ValueError(
      f'An assignment needs a square cost [n, n], got {cost.shape}.'
    )
  return finite_cost(cost)


def with_gap(
  cost: jax.Array, columns: jax.Array, prices: jax.Array, steps: jax.Array
) -> Assignment:
  """Returns an assignment with the gap to the bound of the column prices.

  Args:
    cost: Float `[n, n]`.
    columns: Column of each row, int32 `[n]`.
    prices: Column prices, float `[n]`.
    steps: Number of sequential steps, int32 `[]`.

  Returns:
    The `Assignment`.
  """
  columns = replicated(columns)
  pairs = jnp.take_along_axis(cost, columns[:, None], axis=1)
  bound = jnp.mean(jnp.min(cost - prices, axis=1)) + jnp.mean(prices)
  return Assignment(columns, jnp.mean(pairs) - bound, steps)


def first_minimum(x: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Returns index and value of the minimum along the last axis.

  Two plain reductions take half the time of XLA's argmin, a reduction of
  pairs, on a CPU. Both must read the same numbers, hence the barrier: a fused
  computation of `x` may round differently in each.

  Args:
    x: Float `[..., n]`.

  Returns:
    Index of the first minimum, int32 `[...]`, and the minimum, `[...]`.
  """
  x = jax.lax.optimization_barrier(x)
  minimum = jnp.min(x, axis=-1, keepdims=True)
  indices = jax.lax.broadcasted_iota(jnp.int32, x.shape, x.ndim - 1)
  index = jnp.min(jnp.where(x == minimum, indices, x.shape[-1] - 1), axis=-1)
  return index, minimum[..., 0]


def _reduce(cost: jax.Array) -> _State:
  """Returns prices from column and row minima, and the pairs they match."""
  n = len(cost)
  rows = jnp.arange(n, dtype=jnp.int32)
  column_price = jnp.min(cost, axis=0)
  cheapest, row_price = first_minimum(cost - column_price)
  first = jnp.full(n, n, jnp.int32).at[cheapest].min(rows)
  return _State(
    row_price=row_price,
    column_price=column_price,
    row_of=jnp.where(first < n, first, _FREE),
    column_of=jnp.where(first[cheapest] == rows, cheapest, _FREE),
    steps=jnp.int32(0),
  )


def _augment(cost: jax.Array, state: _State) -> _State:
  """Matches one more row along the cheapest augmenting path."""
  n = len(cost)
  free = state.column_of == _FREE
  # Under vmap a solved problem is also computed until all are solved: without
  # a free row there is nothing to search.
  start = jnp.where(jnp.any(free), jnp.argmax(free), _FREE).astype(jnp.int32)
  infinite = jnp.full(n, jnp.inf, cost.dtype)
  search = jax.lax.while_loop(
    lambda search: search.row != _FREE,
    lambda search: _expand(cost, state, search),
    _Search(
      row=start,
      column=jnp.int32(_FREE),
      distance=jnp.zeros((), cost.dtype),
      open=infinite,
      price=state.column_price,
      reached=infinite,
      previous=jnp.full(n, _FREE, jnp.int32),
      steps=state.steps,
    ),
  )
  # Columns nearer than the last one change by the difference of distances.
  change = jnp.maximum(search.distance - search.reached, 0)
  matched_rows = jnp.where(state.row_of == _FREE, n, state.row_of)
  row_price = state.row_price.at[matched_rows].add(change, mode='drop')
  row_of, column_of = _flip_path(state, search, start)
  return _State(
    row_price=row_price.at[start].add(search.distance),
    column_price=state.column_price - change,
    row_of=row_of,
    column_of=column_of,
    steps=search.steps,
  )


def _expand(cost: jax.Array, state: _State, search: _Search) -> _Search:
  """Relaxes the columns from one row and reaches the nearest open one."""
  distances = cost[search.row] - search.price
  distances = distances + (search.distance - state.row_price[search.row])
  nearer = distances < search.open
  open_ = jnp.where(nearer, distances, search.open)
  column, distance = first_minimum(open_)
  return _Search(
    row=state.row_of[column],
    column=column,
    distance=distance,
    open=open_.at[column].set(jnp.inf),
    price=search.price.at[column].set(-jnp.inf),
    reached=search.reached.at[column].set(distance),
    previous=jnp.where(nearer, search.row, search.previous),
    steps=search.steps + 1,
  )


# Column, row, row of each column and column of each row.
_Path = tuple[jax.Array, jax.Array, jax.Array, jax.Array]


def _flip_path(
  state: _State, search: _Search, start: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Matches each row of the path to the column reached from it."""

  def flip(carry: _Path) -> _Path:
    column, _, row_of, column_of = carry
    row = search.previous[column]
    return (
      column_of[row],
      row,
      row_of.at[column].set(row),
      column_of.at[row].set(column),
    )

  carry = flip((search.column, start, state.row_of, state.column_of))
  carry = jax.lax.while_loop(lambda carry: carry[1] != start, flip, carry)
  return carry[2], carry[3]
