"""An optimiser that leaves alone what took no part in a step."""

import jax
import jax.numpy as jnp
import optax

from kdjax.typing import PyTree


def partial_updates(
  inner: optax.GradientTransformation,
) -> optax.GradientTransformationExtraArgs:
  """`inner`, with parameters that sit out a step when they are told to.

  A parameter whose gradient is zero is still decayed, and its momentum still
  coasts. PyTorch's optimisers skip a parameter that has no gradient at all,
  and methods that sample what they train count on it: FCFD's bridges. Here
  `update(updates, state, params, active=…)` says who takes part: the others
  get an update of zero, and all that `inner` keeps for them stays as it was.
  What `inner` counts for all of them together, such as steps, goes on.

  Args:
    inner: Any transformation whose state holds trees like the parameters', or
      none.

  Returns:
    A transformation with the same state as `inner`. Its `active` is a tree
    prefix of the parameters, of bool `[]`, traced or not; `None` means all.
  """
  inner = optax.with_extra_args_support(inner)

  def update(updates, state, params=None, *, active=None, **extra):
    moved, new_state = inner.update(updates, state, params, **extra)
    if active is None or _is_all(active):
      return moved, new_state
    mask = _broadcast(active, updates)
    moved = jax.tree.map(
      lambda on, update: jnp.where(on, update, jnp.zeros_like(update)),
      mask,
      moved,
    )
    masks = optax.tree.map_params(
      inner,
      lambda _, on: on,
      new_state,
      mask,
      transform_non_params=lambda _: True,
    )
    return moved, jax.tree.map(jnp.where, masks, new_state, state)

  return optax.GradientTransformationExtraArgs(inner.init, update)


def _is_all(active: PyTree) -> bool:
  return all(leaf is True for leaf in jax.tree.leaves(active))


def _broadcast(prefix: PyTree, tree: PyTree) -> PyTree:
  """A tree prefix spread over the leaves below each of its own."""
  return jax.tree.map(
    lambda on, below: jax.tree.map(lambda _: on, below), prefix, tree
  )
