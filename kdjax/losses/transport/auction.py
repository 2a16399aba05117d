"""The assignment problem by auction: nearly exact, certified, parallel."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from kdjax.losses.transport.assignment import (
  Assignment,
  certified,
  first_minimum,
  prepared,
)

_FREE = -1
_FINER = 10.0  # each phase bids in steps that much smaller


class _Market(NamedTuple):
  """Where the auction stands; prices only fall, as what columns are paid."""

  price: jax.Array  # [n] of the columns
  column_of: jax.Array  # [n] of each row, or _FREE
  step: jax.Array  # [] what a bid is above the second best offer
  rounds: jax.Array  # [] so far


@functools.partial(jax.jit, static_argnames=('tolerance', 'rounds'))
def auction_assignment(
  cost: jax.Array, *, tolerance: float = 1e-4, rounds: int = 5000
) -> Assignment:
  r"""A permutation whose cost is near the least, with the bound that says so.

  All rows without a column bid at once, each for the column that serves it
  best; a column goes to the highest bid. Bids exceed the second best offer by
  :math:`\varepsilon`, which ends at `tolerance` times the mean of `cost`, and
  the mean cost of a pair is then within :math:`\varepsilon` of the optimum.

  A round is one pass of `O(n^2)` over the whole matrix. On a CPU
  `exact_assignment` is faster at every size measured; an auction needs
  fewer steps that wait for each other (`benchmarks/transport.py`).

  Args:
    cost: Float `[n, n]`; treated as `exact_assignment` does. No gradient.
    tolerance: Largest gap wanted, as a fraction of the mean of `cost`.
    rounds: After so many the rows left over get the columns left over, in
      order; the gap then tells what that cost.

  Returns:
    The `Assignment`; its gap is measured, not assumed.

  Raises:
    ValueError: If `cost` is not square or `tolerance` is not positive.

  References:
    Bertsekas, `The auction algorithm: a distributed relaxation method for the
    assignment problem <https://doi.org/10.1007/BF02186476>`_, 1988.
  """
  if not tolerance > 0:
    raise ValueError(f'tolerance must be positive, got {tolerance}.')
  cost = prepared(cost)
  last = tolerance * jnp.mean(jnp.abs(cost))
  market = _Market(
    price=jnp.min(cost, axis=0),
    column_of=jnp.full(len(cost), _FREE, jnp.int32),
    step=jnp.maximum(jnp.max(cost) - jnp.min(cost), last),
    rounds=jnp.int32(0),
  )
  market = jax.lax.while_loop(
    lambda market: (market.step > last) & (market.rounds < rounds),
    lambda market: _phase(cost, market, last, rounds),
    market,
  )
  columns = _filled(market.column_of)
  return certified(cost, columns, market.price, market.rounds)


def _phase(
  cost: jax.Array, market: _Market, last: jax.Array, rounds: int
) -> _Market:
  """Rounds of bidding in finer steps, until every row has a column."""
  step = jnp.maximum(market.step / _FINER, last)
  offers = cost - market.price
  column = jnp.maximum(market.column_of, 0)
  own = jnp.take_along_axis(offers, column[:, None], axis=1)[:, 0]
  content = own <= jnp.min(offers, axis=1) + step
  market = market._replace(
    column_of=jnp.where(content, market.column_of, _FREE), step=step
  )
  return jax.lax.while_loop(
    lambda market: (
      jnp.any(market.column_of == _FREE) & (market.rounds < rounds)
    ),
    lambda market: _bid(cost, market),
    market,
  )


def _bid(cost: jax.Array, market: _Market) -> _Market:
  """One round: every free row bids, every column takes its best bid."""
  n = len(cost)
  rows = jnp.arange(n, dtype=jnp.int32)
  free = market.column_of == _FREE
  offers = cost - market.price
  column, best = first_minimum(offers)
  others = jnp.where(rows == column[:, None], jnp.inf, offers)
  second = jnp.where(n > 1, jnp.min(others, axis=1), best)
  bid = jnp.where(free, second - best + market.step, 0)
  highest = jnp.zeros(n, cost.dtype).at[column].max(bid)
  bidders = jnp.where(free & (bid >= highest[column]), column, n)
  winner = jnp.full(n, n, jnp.int32).at[bidders].min(rows, mode='drop')
  sold = winner < n
  ousted = ~free & sold[jnp.maximum(market.column_of, 0)]
  column_of = jnp.where(ousted, _FREE, market.column_of)
  return market._replace(
    price=market.price - jnp.where(sold, highest, 0),
    column_of=column_of.at[winner].set(rows, mode='drop'),
    rounds=market.rounds + 1,
  )


def _filled(column_of: jax.Array) -> jax.Array:
  """A permutation: free rows take the free columns, in order."""
  n = len(column_of)
  free = column_of == _FREE
  taken = (
    jnp.zeros(n, bool).at[jnp.where(free, n, column_of)].set(True, mode='drop')
  )
  left = jnp.argsort(taken, stable=True).astype(jnp.int32)
  return jnp.where(free, left[jnp.cumsum(free) - 1], column_of)
