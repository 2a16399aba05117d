"""Parts of a loss that only some steps compute."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from kdjax.typing import PyTree

Branch = Callable[[PyTree], tuple[jax.Array, PyTree]]


def if_chosen(
  chosen: jax.Array | bool,
  branch: Branch,
  operands: PyTree,
  otherwise: PyTree,
) -> tuple[jax.Array, PyTree]:
  """`branch(operands)` in the steps that choose it, else nothing.

  The gradient is computed in the same branch as the value. Under `grad` a
  `lax.cond` alone would hand all that its backward pass needs out of the
  branch: every activation, and zeros in its place in the steps that do not
  choose it. Here only the gradient itself leaves it.

  Args:
    chosen: bool `[]`; where it is known while tracing there is no branch at
      all.
    branch: `operands -> (scalar, rest)`. What it closes over is not
      differentiated, and neither is the rest.
    operands: A tree of float arrays: what the scalar is differentiated by.
    otherwise: The rest in a step that does not choose it.

  Returns:
    The scalar, 0 where not chosen, and the rest.
  """
  if isinstance(chosen, bool):
    value, rest = branch(operands) if chosen else (jnp.zeros(()), otherwise)
    return value, jax.lax.stop_gradient(rest)
  return _if_chosen(branch, chosen, operands, otherwise)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _if_chosen(branch, chosen, operands, otherwise):
  return jax.lax.cond(
    chosen,
    lambda operands, _: branch(operands),
    lambda operands, rest: (_zero(branch, operands), rest),
    operands,
    otherwise,
  )


def _forward(branch, chosen, operands, otherwise):
  def taken(operands, _):
    return jax.value_and_grad(branch, has_aux=True)(operands)

  def left(operands, rest):
    zeros = jax.tree.map(jnp.zeros_like, operands)
    return (_zero(branch, operands), rest), zeros

  return jax.lax.cond(chosen, taken, left, operands, otherwise)


def _backward(branch, gradient, cotangents):
  del branch
  # The value is a scalar, so its gradient by anything is known up to a factor.
  scale, _ = cotangents
  scaled = jax.tree.map(
    lambda leaf: (scale * leaf).astype(leaf.dtype), gradient
  )
  return None, scaled, None


_if_chosen.defvjp(_forward, _backward)


def _zero(branch, operands):
  value, _ = jax.eval_shape(branch, operands)
  return jnp.zeros(value.shape, value.dtype)
