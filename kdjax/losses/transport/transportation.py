"""Exact transport between batches of different size, on the device."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from kdjax.losses.numerics import whole
from kdjax.losses.transport.assignment import first_minimum, searchable

_NONE = -1


class _State(NamedTuple):
  """A partial plan in whole units of mass, and prices that make it tight."""

  row_price: jax.Array  # [n]
  column_price: jax.Array  # [m]
  flow: jax.Array  # int32 [n, m]
  supply: jax.Array  # int32 [n], what each row still has
  demand: jax.Array  # int32 [m], what each column still wants


class _Search(NamedTuple):
  """Dijkstra's search from one row to the nearest column that wants more."""

  fresh: jax.Array  # bool [n], rows reached last, to be looked at next
  column: jax.Array  # reached last
  distance: jax.Array  # to that column
  open: jax.Array  # [m] distances of the columns not reached yet, else inf
  reached: jax.Array  # [m] distances of the columns reached, else inf
  row_reached: jax.Array  # [n] the same of the rows
  row_before: jax.Array  # [m] the row each column is reached from
  column_before: jax.Array  # [n] the column each row is reached from


@jax.jit
def transport_plan(cost: jax.Array) -> jax.Array:
  r"""A plan of least cost between uniform weights on n rows and m columns.

  .. math::
    \min_\gamma \sum_{ij} \gamma_{ij} C_{ij}, \qquad
    \sum_j \gamma_{ij} = \tfrac1n, \quad \sum_i \gamma_{ij} = \tfrac1m

  Mass is counted in units of 1 / lcm(n, m), so that every number of the plan is
  a whole one. From each row that has mass left, the cheapest exchange to a
  column that wants some is found by Dijkstra's algorithm and used to the full,
  as `exact_assignment` does with units of one.

  Args:
    cost: Float `[n, m]`. What is not finite, or beyond 1e30, counts as zero.
      No gradient.

  Returns:
    The plan, `[n, m]`, of total mass 1.

  Raises:
    ValueError: If lcm(n, m) is beyond what int32 counts.
  """
  n, m = cost.shape
  units = math.lcm(n, m)
  if units > jnp.iinfo(jnp.int32).max:
    raise ValueError(
      f'transport_plan counts mass in units of 1/lcm(n, m), but lcm({n}, {m})'
      ' exceeds int32. Use batches of equal size or a Sinkhorn distance.'
    )
  cost = searchable(cost)
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
  return whole(state.flow).astype(cost.dtype) / units


def _augment(cost: jax.Array, state: _State) -> _State:
  """As much mass as fits along the cheapest exchange from one row."""
  n, m = cost.shape
  left = state.supply > 0
  # Under vmap a solved problem waits here for the others: no row, no search.
  start = jnp.where(jnp.any(left), jnp.argmax(left), _NONE).astype(jnp.int32)
  at_start = jnp.arange(n) == start
  never = jnp.full(m, jnp.inf, cost.dtype)
  search = jax.lax.while_loop(
    lambda search: (
      (start != _NONE)
      & ((search.column == _NONE) | (state.demand[search.column] == 0))
    ),
    lambda search: _look(cost, state, search),
    _Search(
      fresh=at_start,
      column=jnp.int32(_NONE),
      distance=jnp.zeros((), cost.dtype),
      open=never,
      reached=never,
      row_reached=jnp.where(at_start, 0, jnp.inf).astype(cost.dtype),
      row_before=jnp.full(m, _NONE, jnp.int32),
      column_before=jnp.full(n, _NONE, jnp.int32),
    ),
  )
  amount = _bottleneck(state, search, start)
  rows_rise = jnp.maximum(search.distance - search.row_reached, 0)
  columns_rise = jnp.maximum(search.distance - search.reached, 0)
  return _State(
    row_price=state.row_price + rows_rise,
    column_price=state.column_price - columns_rise,
    flow=_shifted(state.flow, search, start, amount),
    supply=state.supply.at[start].add(-amount),
    demand=state.demand.at[search.column].add(-amount),
  )


def _look(cost: jax.Array, state: _State, search: _Search) -> _Search:
  """The columns seen from the fresh rows; the nearest open one is reached."""
  way = cost - state.row_price[:, None] - state.column_price
  way = jnp.where(search.fresh[:, None], way + search.distance, jnp.inf)
  row, way = first_minimum(way.T)
  nearer = (way < search.open) & jnp.isinf(search.reached)
  open_ = jnp.where(nearer, way, search.open)
  column, distance = first_minimum(open_)
  holders = (state.flow[:, column] > 0) & jnp.isinf(search.row_reached)
  return _Search(
    fresh=holders,
    column=column,
    distance=distance,
    open=open_.at[column].set(jnp.inf),
    reached=search.reached.at[column].set(distance),
    row_reached=jnp.where(holders, distance, search.row_reached),
    row_before=jnp.where(nearer, row, search.row_before),
    column_before=jnp.where(holders, column, search.column_before),
  )


def _bottleneck(state: _State, search: _Search, start: jax.Array) -> jax.Array:
  """What can flow: the least of both ends and of what is taken away between."""

  def back(carry):
    row, amount = carry
    column = search.column_before[row]
    amount = jnp.minimum(amount, state.flow[row, column])
    return search.row_before[column], amount

  ends = jnp.minimum(state.supply[start], state.demand[search.column])
  carry = (search.row_before[search.column], ends)
  return jax.lax.while_loop(lambda carry: carry[0] != start, back, carry)[1]


def _shifted(
  flow: jax.Array, search: _Search, start: jax.Array, amount: jax.Array
) -> jax.Array:
  """The flow after every row on the way back moved `amount` one column on."""

  def back(carry):
    row, flow = carry
    column = search.column_before[row]
    before = search.row_before[column]
    flow = flow.at[row, column].add(-amount).at[before, column].add(amount)
    return before, flow

  row = search.row_before[search.column]
  carry = (row, flow.at[row, search.column].add(amount))
  return jax.lax.while_loop(lambda carry: carry[0] != start, back, carry)[1]
