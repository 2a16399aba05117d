"""A set that lives on the devices, batch by batch in one loop."""

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
  """Inside jit: what a function of batches gives of the first ones of a set.

  The last of all begins earlier, so that it is whole; what is in it twice is
  written twice.

  Args:
    function: Arrays of `size` rows to arrays of as many.
    data: Arrays `[N, …]`, `N` at least `size`.
    size: Rows of a batch.
    batches: How many; may be traced. All are `ceil(N / size)`.

  Returns:
    Arrays `[N, …]`, zeros behind the batches that were asked for.
  """
  count = len(jax.tree.leaves(data)[0])

  def found_at(start):
    rows = jax.tree.map(
      lambda array: jax.lax.dynamic_slice_in_dim(array, start, size), data
    )
    return function(rows)

  def step(number, kept):
    start = jnp.minimum(number * size, count - size)
    return jax.tree.map(
      lambda whole, rows: jax.lax.dynamic_update_slice_in_dim(
        whole, rows, start, 0
      ),
      kept,
      found_at(start),
    )

  kept = jax.tree.map(
    lambda rows: jnp.zeros((count, *rows.shape[1:]), rows.dtype),
    jax.eval_shape(found_at, 0),
  )
  return jax.lax.fori_loop(0, batches, step, kept)
