"""Order of the examples of a dataset that stays on the device."""

import jax
import jax.numpy as jnp


def batch_order(
  key: jax.Array, epoch: jax.typing.ArrayLike, num_examples: int
) -> jax.Array:
  """Returns the order of the examples in an epoch.

  The order is a function of key and epoch only: the epoch's number is folded
  into the key.

  Args:
    key: Random key of the run's data, the same in all epochs.
    epoch: Number of the epoch, from 0; may be traced.
    num_examples: Number of examples N.

  Returns:
    int32 `[N]`, a permutation of `0 … N - 1`.
  """
  rows = jnp.arange(num_examples, dtype=jnp.int32)
  return jax.random.permutation(jax.random.fold_in(key, epoch), rows)
