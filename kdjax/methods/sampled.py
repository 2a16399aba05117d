"""Parts of a loss that only some steps compute."""

# pyright: reportUnknownMemberType=false

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from kdjax.typing import PyTree

# The types of some transformations are incomplete.
_jax: Any = jax

# Operands to a scalar and any other results.
Branch = Callable[[PyTree], tuple[jax.Array, PyTree]]


def if_chosen(
  chosen: jax.Array | bool,
  branch: Branch,
  operands: PyTree,
  otherwise: PyTree,
) -> tuple[jax.Array, PyTree]:
  """Returns `branch(operands)` in steps that choose it, and 0 in others.

  The gradient is computed in the same branch as the value. The derivative of
  `lax.cond` would return everything that its backward pass needs from the
  branch: every activation, and zeros of that size in steps that do not choose
  it. Here the branch returns the gradient only.

  Args:
    chosen: bool `[]`; a Python `bool` compiles no branch at all.
    branch: `operands -> (scalar, others)`. The arrays that it closes over are
      not differentiated, and neither are the other results.
    operands: A tree of float arrays with respect to which the scalar is
      differentiated.
    otherwise: The other results in a step that does not choose the branch.

  Returns:
    The scalar, 0 if not chosen, and the other results.
  """
  if isinstance(chosen, bool):
    value, others = branch(operands) if chosen else (jnp.zeros(()), otherwise)
    return value, jax.lax.stop_gradient(others)
  return _if_chosen(branch, chosen, operands, otherwise)


def _value(
  branch: Branch, chosen: jax.Array, operands: PyTree, otherwise: PyTree
) -> tuple[jax.Array, PyTree]:
  def run(operands: PyTree, otherwise: PyTree) -> tuple[jax.Array, PyTree]:
    del otherwise
    return branch(operands)

  def skip(operands: PyTree, otherwise: PyTree) -> tuple[jax.Array, PyTree]:
    return _zero(branch, operands), otherwise

  return _jax.lax.cond(chosen, run, skip, operands, otherwise)


def _forward(
  branch: Branch, chosen: jax.Array, operands: PyTree, otherwise: PyTree
) -> tuple[tuple[jax.Array, PyTree], PyTree]:
  """Returns the value, and the gradient for the backward pass."""

  def run(operands: PyTree, otherwise: PyTree) -> Any:
    del otherwise
    return _jax.value_and_grad(branch, has_aux=True)(operands)

  def skip(operands: PyTree, otherwise: PyTree) -> Any:
    zeros = _jax.tree.map(jnp.zeros_like, operands)
    return (_zero(branch, operands), otherwise), zeros

  return _jax.lax.cond(chosen, run, skip, operands, otherwise)


def _backward(
  branch: Branch, gradient: PyTree, cotangents: tuple[jax.Array, PyTree]
) -> tuple[None, PyTree, None]:
  del branch
  # The value is a scalar: its gradient is known up to a factor.
  factor, _ = cotangents

  def scale(leaf: jax.Array) -> jax.Array:
    return (factor * leaf).astype(leaf.dtype)

  return None, jax.tree.map(scale, gradient), None


def _zero(branch: Branch, operands: PyTree) -> jax.Array:
  """Returns 0 in the dtype of the branch's scalar."""
  value, _ = _jax.eval_shape(branch, operands)
  return jnp.zeros(value.shape, value.dtype)


_if_chosen = _jax.custom_vjp(_value, nondiff_argnums=(0,))
_if_chosen.defvjp(_forward, _backward)
