"""Loops over data that reside on the devices, batch by batch."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from kdjax.typing import PyTree


def over_batches(
  function: Callable[[PyTree], PyTree],
  data: PyTree,
  size: int,
  batches: jax.typing.ArrayLike,
) -> PyTree:
  """Applies a function to the first batches of some data; inside jit.

  The very last batch starts earlier, so that it is full; the rows that it
  shares with the previous one are computed twice.

  Args:
    function: Arrays of `size` rows to arrays of `size` rows.
    data: Arrays `[N, …]` with `N` at least `size`.
    size: Rows of a batch.
    batches: Number of batches; may be traced. `ceil(N / size)` are all.

  Returns:
    Arrays `[N, …]`, zero after the batches that were computed.
  """
  kept = empty_results(function, data, size)
  return over_batches_into(kept, function, data, size, 0, batches)


def empty_results(
  function: Callable[[PyTree], PyTree], data: PyTree, size: int
) -> PyTree:
  """Returns zeros with the shapes of the results of `over_batches`."""
  count = len(jax.tree.leaves(data)[0])
  shapes = jax.eval_shape(
    lambda rows: function(rows), jax.tree.map(lambda a: a[:size], data)
  )
  return jax.tree.map(
    lambda rows: jnp.zeros((count, *rows.shape[1:]), rows.dtype), shapes
  )


def over_batches_into(
  results: PyTree,
  function: Callable[[PyTree], PyTree],
  data: PyTree,
  size: int,
  first: jax.typing.ArrayLike,
  stop: jax.typing.ArrayLike,
) -> PyTree:
  """Writes a function of the batches `first` to `stop` into its results.

  Args:
    results: As `empty_results` made them, or a call of this function.
    function: See `over_batches`.
    data: See `over_batches`.
    size: Rows of a batch.
    first: Index of the first batch; may be traced.
    stop: Index after the last batch; may be traced.
  """
  count = len(jax.tree.leaves(data)[0])

  def step(index: jax.Array, results: PyTree) -> PyTree:
    start = jnp.minimum(index * size, count - size)
    rows = jax.tree.map(
      lambda array: jax.lax.dynamic_slice_in_dim(array, start, size), data
    )
    return jax.tree.map(
      lambda whole, part: jax.lax.dynamic_update_slice_in_dim(
        whole, part, start, 0
      ),
      results,
      function(rows),
    )

  return jax.lax.fori_loop(first, stop, step, results)
