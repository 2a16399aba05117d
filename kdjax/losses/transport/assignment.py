"""The assignment problem, solved exactly, on the device, inside jit."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from kdjax.losses.numerics import whole

_FREE = -1


class Assignment(NamedTuple):
  """Who goes with whom, and how far that can be from the best.

  Attributes:
    columns: int32 `[n]`, the column of each row: a permutation.
    gap: `[]`, a certified bound: the mean cost of a pair minus a lower bound of
      the optimum from feasible prices. Rounding aside, zero if exact.
    steps: int32 `[]`, how many steps followed one another: what an accelerator
      waits for, whatever the size of each.
  """

  columns: jax.Array
  gap: jax.Array
  steps: jax.Array


class _State(NamedTuple):
  """A partial matching, and prices that make all its pairs tight.

  `row_price[i] + column_price[j] <= cost[i, j]`, with equality where matched.
  """

  row_price: jax.Array
  column_price: jax.Array
  row_of: jax.Array  # of each column, or _FREE
  column_of: jax.Array  # of each row, or _FREE
  steps: jax.Array  # int32 []


class _Search(NamedTuple):
  """Dijkstra's search for the nearest free column, from one free row."""

  row: jax.Array  # to be looked at next; _FREE once a free column is reached
  column: jax.Array  # reached last
  distance: jax.Array  # to that column
  open: jax.Array  # [n] distances of the columns not reached yet, else inf
  price: jax.Array  # [n] column prices; -inf where reached, which closes it
  reached: jax.Array  # [n] distances of the columns reached, else inf
  previous: jax.Array  # [n] the row each column is reached from
  steps: jax.Array  # int32 [], since the first search


@jax.jit
def exact_assignment(cost: jax.Array) -> Assignment:
  r"""A permutation of least total cost.

  .. math::
    \min_\sigma \sum_i C_{i \sigma(i)}

  by shortest augmenting paths: columns, then rows are reduced and the tight
  pairs that do not collide matched; from each row left over, Dijkstra's
  algorithm on reduced costs finds the cheapest exchange. `O(n^3)` at worst, in
  steps of `O(n)` that follow one another.

  Args:
    cost: Float `[n, n]`. What is not finite, or beyond 1e30, counts as zero:
      the search must end whatever comes, and the caller's value shows the
      fault. No gradient.

  Returns:
    The `Assignment`.

  Raises:
    ValueError: If `cost` is not square.

  References:
    Jonker and Volgenant, `A shortest augmenting path algorithm for dense and
    sparse linear assignment problems
    <https://doi.org/10.1007/BF02278710>`_, 1987.
  """
  cost = prepared(cost)
  state = jax.lax.while_loop(
    lambda state: jnp.any(state.column_of == _FREE),
    lambda state: _augment(cost, state),
    _reduce(cost),
  )
  return certified(cost, state.column_of, state.column_price, state.steps)


def searchable(cost: jax.Array) -> jax.Array:
  """Numbers whose sums are finite, without gradient, whole on every device."""
  cost = jax.lax.stop_gradient(cost)
  return whole(jnp.where(jnp.abs(cost) < 1e30, cost, 0))


def prepared(cost: jax.Array) -> jax.Array:
  """`searchable`, if it is a square."""
  if cost.ndim != 2 or cost.shape[0] != cost.shape[1]:
    raise ValueError(
      f'An assignment needs a square cost [n, n], got {cost.shape}.'
    )
  return searchable(cost)


def certified(
  cost: jax.Array, columns: jax.Array, prices: jax.Array, steps: jax.Array
) -> Assignment:
  """The assignment with its gap to the bound that the column prices give."""
  columns = whole(columns)
  pairs = jnp.take_along_axis(cost, columns[:, None], axis=1)
  bound = jnp.mean(jnp.min(cost - prices, axis=1)) + jnp.mean(prices)
  return Assignment(columns, jnp.mean(pairs) - bound, steps)


def first_minimum(x: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Index and value of the least entry along the last axis.

  Two plain reductions: XLA's argmin, one of pairs, costs twice their time on a
  CPU. Both must see the same numbers, hence the barrier: a fused computation
  of `x` may round differently in each.
  """
  x = jax.lax.optimization_barrier(x)
  least = jnp.min(x, axis=-1, keepdims=True)
  places = jax.lax.broadcasted_iota(jnp.int32, x.shape, x.ndim - 1)
  index = jnp.min(jnp.where(x == least, places, x.shape[-1] - 1), axis=-1)
  return index, least[..., 0]


def _reduce(cost: jax.Array) -> _State:
  """Prices from the least of each column and row, and what they match."""
  n = len(cost)
  rows = jnp.arange(n, dtype=jnp.int32)
  column_price = jnp.min(cost, axis=0)
  wanted, row_price = first_minimum(cost - column_price)
  first = jnp.full(n, n, jnp.int32).at[wanted].min(rows)
  return _State(
    row_price=row_price,
    column_price=column_price,
    row_of=jnp.where(first < n, first, _FREE),
    column_of=jnp.where(first[wanted] == rows, wanted, _FREE),
    steps=jnp.int32(0),
  )


def _augment(cost: jax.Array, state: _State) -> _State:
  """One more row matched, along the cheapest exchange."""
  n = len(cost)
  free = state.column_of == _FREE
  # Under vmap a solved problem waits here for the others: no row, no search.
  start = jnp.where(jnp.any(free), jnp.argmax(free), _FREE).astype(jnp.int32)
  never = jnp.full(n, jnp.inf, cost.dtype)
  search = jax.lax.while_loop(
    lambda search: search.row != _FREE,
    lambda search: _look(cost, state, search),
    _Search(
      row=start,
      column=jnp.int32(_FREE),
      distance=jnp.zeros((), cost.dtype),
      open=never,
      price=state.column_price,
      reached=never,
      previous=jnp.full(n, _FREE, jnp.int32),
      steps=state.steps,
    ),
  )
  # What was reached closer than the end moves by the rest of the way.
  rise = jnp.maximum(search.distance - search.reached, 0)
  holders = jnp.where(state.row_of == _FREE, n, state.row_of)
  row_price = state.row_price.at[holders].add(rise, mode='drop')
  row_of, column_of = _exchange(state, search, start)
  return _State(
    row_price=row_price.at[start].add(search.distance),
    column_price=state.column_price - rise,
    row_of=row_of,
    column_of=column_of,
    steps=search.steps,
  )


def _look(cost: jax.Array, state: _State, search: _Search) -> _Search:
  """The columns seen from one row; the nearest open one is reached."""
  way = cost[search.row] - search.price
  way = way + (search.distance - state.row_price[search.row])
  nearer = way < search.open
  open_ = jnp.where(nearer, way, search.open)
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


def _exchange(
  state: _State, search: _Search, start: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Every row on the way back takes the column it was followed to."""

  def take(carry):
    column, _, row_of, column_of = carry
    row = search.previous[column]
    return (
      column_of[row],
      row,
      row_of.at[column].set(row),
      column_of.at[row].set(column),
    )

  carry = take((search.column, start, state.row_of, state.column_of))
  carry = jax.lax.while_loop(lambda carry: carry[1] != start, take, carry)
  return carry[2], carry[3]
