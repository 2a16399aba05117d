"""Exact transport between batches of different sizes, on the device."""

# pyright: reportUnknownMemberType=false

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from kdjax.losses.numerics import replicated
from kdjax.losses.transport.assignment import finite_cost, first_minimum

_NONE = -1


class _State(NamedTuple):
  """A partial plan in integer units of mass, with prices that make it tight."""

  row_price: jax.Array  # [n]
  column_price: jax.Array  # [m]
  flow: jax.Array  # int32 [n, m]
  supply: jax.Array  # int32 [n], remaining mass of each row
  demand: jax.Array  # int32 [m], missing mass of each column


class _Search(NamedTuple):
  """Dijkstra's search from a row to the nearest column with demand."""

  frontier: jax.Array  # bool [n], rows reached last, to be expanded next
  column: jax.Array  # reached last
  distance: jax.Array  # to that column
  open: jax.Array  # [m] distances of the columns not reached yet, else inf
  reached: jax.Array  # [m] distances of the columns reached, else inf
  row_reached: jax.Array  # [n] distances of the rows reached, else inf
  row_before: jax.Array  # [m] row from which each column is reached
  column_before: jax.Array  # [n] column from which each row is reached


@jax.jit
def transport_plan(cost: jax.Array) -> jax.Array:
  r"""Computes a plan of minimal cost with uniform marginals.

  .. math::
    \min_\gamma \sum_{ij} \gamma_{ij} C_{ij}, \qquad
    \sum_j \gamma_{ij} = \tfrac1n, \quad \sum_i \gamma_{ij} = \tfrac1m

  Mass is counted in units of 1 / lcm(n, m), so that all entries of the plan
  are integers. From each row with remaining mass, Dijkstra's algorithm finds
  the cheapest augmenting path to a column with demand, and as much mass as
  possible flows along it. `exact_assignment` is the special case of one unit
  per row and column.

  Args:
    cost: Float `[n, m]`. Entries that are not finite, or beyond 1e30, count as
      zero. Receives no gradient.

  Returns:
    The plan, `[n, m]`, of total mass 1.

  Raises:
    ValueError: If lcm(n, m) exceeds int32.
  """
  n, m = cost.shape
  units = math.lcm(n, m)
  if units > jnp.iinfo(jnp.int32).max:
    raise ValueError(
      f'transport_plan counts mass in units of 1/lcm(n, m), but lcm({n}, {m})'
      ' exceeds int32. Use batches of equal size or a Sinkhorn distance.'
    )
  cost = finite_cost(cost)
  column_price = jnp.min(cost, axis=0)
  state = jax.lax.while_loop(
    lambda state: jnp.any(state.supply > 0),
    lambda state: _augment(cost, state),
    _State(
      row_price=jnp.min(cost - column_price, axis=1),
      column_price=column_price,
      flow=jnp.zeros((n, m), jnp.int32),
      supply=jnp.full(n, units // n, jnp.int32),
      demand=jnp.full(m, units // m, jnp.int32),
    ),
  )
  return replicated(state.flow).astype(cost.dtype) / units


def _augment(cost: jax.Array, state: _State) -> _State:
  """Moves as much mass as possible along the cheapest path from one row."""
  supplied = state.supply > 0
  # Under vmap a solved problem is also computed until all are solved: without
  # supply there is nothing to search.
  start = jnp.where(jnp.any(supplied), jnp.argmax(supplied), _NONE)
  start = start.astype(jnp.int32)
  search = jax.lax.while_loop(
    lambda search: (
      (start != _NONE)
      & ((search.column == _NONE) | (state.demand[search.column] == 0))
    ),
    lambda search: _expand(cost, state, search),
    _initial_search(cost, start),
  )
  amount = _bottleneck(state, search, start)
  row_change = jnp.maximum(search.distance - search.row_reached, 0)
  column_change = jnp.maximum(search.distance - search.reached, 0)
  return _State(
    row_price=state.row_price + row_change,
    column_price=state.column_price - column_change,
    flow=_push(state.flow, search, start, amount),
    supply=state.supply.at[start].add(-amount),
    demand=state.demand.at[search.column].add(-amount),
  )


def _initial_search(cost: jax.Array, start: jax.Array) -> _Search:
  """Returns a search that has reached the start row only."""
  n, m = cost.shape
  at_start = jnp.arange(n) == start
  infinite = jnp.full(m, jnp.inf, cost.dtype)
  return _Search(
    frontier=at_start,
    column=jnp.int32(_NONE),
    distance=jnp.zeros((), cost.dtype),
    open=infinite,
    reached=infinite,
    row_reached=jnp.where(at_start, 0, jnp.inf).astype(cost.dtype),
    row_before=jnp.full(m, _NONE, jnp.int32),
    column_before=jnp.full(n, _NONE, jnp.int32),
  )


def _expand(cost: jax.Array, state: _State, search: _Search) -> _Search:
  """Relaxes the columns from the frontier and reaches the nearest open one."""
  distances = cost - state.row_price[:, None] - state.column_price
  distances = jnp.where(
    search.frontier[:, None], distances + search.distance, jnp.inf
  )
  row, distances = first_minimum(distances.T)
  nearer = (distances < search.open) & jnp.isinf(search.reached)
  open_ = jnp.where(nearer, distances, search.open)
  column, distance = first_minimum(open_)
  frontier = (state.flow[:, column] > 0) & jnp.isinf(search.row_reached)
  return _Search(
    frontier=frontier,
    column=column,
    distance=distance,
    open=open_.at[column].set(jnp.inf),
    reached=search.reached.at[column].set(distance),
    row_reached=jnp.where(frontier, distance, search.row_reached),
    row_before=jnp.where(nearer, row, search.row_before),
    column_before=jnp.where(frontier, column, search.column_before),
  )


def _bottleneck(state: _State, search: _Search, start: jax.Array) -> jax.Array:
  """Returns the mass that can move along the path.

  It is the minimum of supply, demand and the flows that the path reduces.
  """

  def back(carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    row, amount = carry
    column = search.column_before[row]
    amount = jnp.minimum(amount, state.flow[row, column])
    return search.row_before[column], amount

  ends = jnp.minimum(state.supply[start], state.demand[search.column])
  carry = (search.row_before[search.column], ends)
  return jax.lax.while_loop(lambda carry: carry[0] != start, back, carry)[1]


def _push(
  flow: jax.Array, search: _Search, start: jax.Array, amount: jax.Array
) -> jax.Array:
  """Returns the flow after moving `amount` along the path."""

  def back(carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    row, flow = carry
    column = search.column_before[row]
    before = search.row_before[column]
    flow = flow.at[row, column].add(-amount).at[before, column].add(amount)
    return before, flow

  row = search.row_before[search.column]
  carry = (row, flow.at[row, search.column].add(amount))
  return jax.lax.while_loop(lambda carry: carry[0] != start, back, carry)[1]
