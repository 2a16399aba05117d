"""Auction solver of the assignment problem: parallel, with a certified gap."""

# pyright: reportUnknownMemberType=false

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from kdjax.losses.transport.assignment import (
  Assignment,
  first_minimum,
  square_cost,
  with_gap,
)

_FREE = -1
_REFINEMENT = 10.0  # factor between the bid increments of successive phases


class _Auction(NamedTuple):
  """State of an auction; prices are paid to the columns and only decrease."""

  price: jax.Array  # [n] of the columns
  column_of: jax.Array  # [n] of each row, or _FREE
  increment: jax.Array  # [] by which a bid exceeds the second best offer
  rounds: jax.Array  # [] so far


@functools.partial(jax.jit, static_argnames=('tolerance', 'rounds'))
def auction_assignment(
  cost: jax.Array, *, tolerance: float = 1e-4, rounds: int = 5000
) -> Assignment:
  r"""Computes a permutation of nearly minimal cost, with a bound of its error.

  All rows without a column bid at once, each for the column that is best for
  it, and a column goes to the highest bidder. Bids exceed the second best offer
  by :math:`\varepsilon`, which decreases to `tolerance` times the mean of
  `cost`; the mean cost of a pair is then within :math:`\varepsilon` of the
  optimum.

  A round is one pass of `O(n^2)` over the cost. On a CPU `exact_assignment` is
  faster at every size measured; an auction needs fewer sequential steps
  (`benchmarks/transport.py`).

  Args:
    cost: Float `[n, n]`; invalid entries are treated as by `exact_assignment`.
      Receives no gradient.
    tolerance: Largest gap, as a fraction of the mean of `cost`.
    rounds: Maximum number of rounds. Rows without a column then get the
      remaining columns in order, and the gap shows the loss.

  Returns:
    The `Assignment`; its gap is computed from the result.

  Raises:
    ValueError: If `cost` is not square or `tolerance` is not positive.

  References:
    Bertsekas, `The auction algorithm: a distributed relaxation method for the
    assignment problem <https://doi.org/10.1007/BF02186476>`_, 1988.
  """
  if not tolerance > 0:
    raise ValueError(f'tolerance must be positive, got {tolerance}.')
  cost = square_cost(cost)
  last = tolerance * jnp.mean(jnp.abs(cost))
  auction = _Auction(
    price=jnp.min(cost, axis=0),
    column_of=jnp.full(len(cost), _FREE, jnp.int32),
    increment=jnp.maximum(jnp.max(cost) - jnp.min(cost), last),
    rounds=jnp.int32(0),
  )
  auction = jax.lax.while_loop(
    lambda auction: (auction.increment > last) & (auction.rounds < rounds),
    lambda auction: _phase(cost, auction, last, rounds),
    auction,
  )
  columns = _complete(auction.column_of)
  return with_gap(cost, columns, auction.price, auction.rounds)


def _phase(
  cost: jax.Array, auction: _Auction, last: jax.Array, rounds: int
) -> _Auction:
  """Bids with a smaller increment until every row has a column."""
  increment = jnp.maximum(auction.increment / _REFINEMENT, last)
  offers = cost - auction.price
  column = jnp.maximum(auction.column_of, 0)
  own = jnp.take_along_axis(offers, column[:, None], axis=1)[:, 0]
  near_best = own <= jnp.min(offers, axis=1) + increment
  auction = auction._replace(
    column_of=jnp.where(near_best, auction.column_of, _FREE),
    increment=increment,
  )
  return jax.lax.while_loop(
    lambda auction: (
      jnp.any(auction.column_of == _FREE) & (auction.rounds < rounds)
    ),
    lambda auction: _bid(cost, auction),
    auction,
  )


def _bid(cost: jax.Array, auction: _Auction) -> _Auction:
  """Performs one round: free rows bid, columns accept their highest bid."""
  n = len(cost)
  rows = jnp.arange(n, dtype=jnp.int32)
  free = auction.column_of == _FREE
  offers = cost - auction.price
  column, best = first_minimum(offers)
  others = jnp.where(rows == column[:, None], jnp.inf, offers)
  second = jnp.where(n > 1, jnp.min(others, axis=1), best)
  bid = jnp.where(free, second - best + auction.increment, 0)
  highest = jnp.zeros(n, cost.dtype).at[column].max(bid)
  bidders = jnp.where(free & (bid >= highest[column]), column, n)
  winner = jnp.full(n, n, jnp.int32).at[bidders].min(rows, mode='drop')
  sold = winner < n
  outbid = ~free & sold[jnp.maximum(auction.column_of, 0)]
  column_of = jnp.where(outbid, _FREE, auction.column_of)
  return auction._replace(
    price=auction.price - jnp.where(sold, highest, 0),
    column_of=column_of.at[winner].set(rows, mode='drop'),
    rounds=auction.rounds + 1,
  )


def _complete(column_of: jax.Array) -> jax.Array:
  """Returns a permutation: free rows get the free columns in order."""
  n = len(column_of)
  free = column_of == _FREE
  assigned = (
    jnp.zeros(n, bool).at[jnp.where(free, n, column_of)].set(True, mode='drop')
  )
  remaining = jnp.argsort(assigned, stable=True).astype(jnp.int32)
  return jnp.where(free, remaining[jnp.cumsum(free) - 1], column_of)
