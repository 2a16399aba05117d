"""Search for computations with fewer bits than float32."""

import jax
import jax.numpy as jnp
from jax.extend.core import jaxprs_in_params

_NARROW = (jnp.dtype(jnp.bfloat16), jnp.dtype(jnp.float16))

# Primitives that copy or select values and do not round.
_EXACT = {
  'broadcast_in_dim',
  'concatenate',
  'convert_element_type',
  'copy',
  'dynamic_slice',
  'gather',
  'is_finite',
  'max',
  'min',
  'reshape',
  'rev',
  'select_n',
  'slice',
  'split',
  'squeeze',
  'stop_gradient',
  'transpose',
}


def narrow(function, *arguments) -> set[str]:
  """Returns the primitives that compute with bfloat16 or float16.

  Args:
    function: A function of the arguments.
    *arguments: Trees of arrays or of shapes and dtypes.
  """
  return set(_narrow(jax.make_jaxpr(function)(*arguments).jaxpr))


def _narrow(jaxpr):
  for equation in jaxpr.eqns:
    inner = list(jaxprs_in_params(equation.params))
    for below in inner:
      yield from _narrow(below)
    if inner or equation.primitive.name in _EXACT:
      continue
    dtypes = {
      getattr(atom.aval, 'dtype', None)
      for atom in (*equation.invars, *equation.outvars)
    }
    if dtypes & set(_NARROW):
      yield equation.primitive.name


def as_bfloat16(tree):
  """Returns the tree with float arrays rounded to bfloat16."""
  return jax.tree.map(
    lambda leaf: (
      leaf.astype(jnp.bfloat16)
      if jnp.issubdtype(leaf.dtype, jnp.floating)
      else leaf
    ),
    tree,
  )
