"""Order of a set that stays on the device."""

import jax
import jax.numpy as jnp


def batch_order(
  key: jax.Array, epoch: jax.typing.ArrayLike, num_examples: int
) -> jax.Array:
  """The order in which an epoch visits a set: a function of key and epoch only.

  Args:
    key: The run's key for data; not advanced, each epoch folds its number in.
    epoch: Epochs done before this one; may be traced.
    num_examples: Size of the set.

  Returns:
    int32 `[num_examples]`: a permutation of `0 … num_examples - 1`.
  """
  rows = jnp.arange(num_examples, dtype=jnp.int32)
  return jax.random.permutation(jax.random.fold_in(key, epoch), rows)
