r"""Batch norm folded into the layer before it, for evaluation mode.

A network that is not trained any more normalises with constants. Where nothing
but a norm reads a convolution or a linear layer,

.. math:: \gamma \frac{k * x + b - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta
   = (f k) * x + \beta + f (b - \mu),
   \qquad f = \gamma / \sqrt{\sigma^2 + \epsilon},

so that a kernel and a bias take the place of both (Jacob et al., CVPR 2018,
section 3.2). What is a norm's own is then absent from the variables, which is
how the layers know. Norms of sums, as those that begin a block of a
wide ResNet, stay as they are.
"""

import collections
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.ad_checkpoint import checkpoint_name
from jax.extend.core import Literal

from kdjax.layers import BatchNorm, Conv, Dense
from kdjax.typing import PyTree

Path = tuple[str, ...]


def fold_batch_norm(
  module: nn.Module, variables: PyTree, images: jax.ShapeDtypeStruct
) -> PyTree:
  """The variables with each norm folded that can be, on the host.

  Args:
    module: Called as `module(images, train=False)`.
    variables: Its `params` and `batch_stats`.
    images: The shape of some; nothing is computed with them.

  Returns:
    Float32 variables with which the module gives the same in evaluation mode,
    but for rounding, and which it cannot be trained with.
  """
  params = _flat(variables['params'])
  stats = _flat(variables['batch_stats'])
  for product, (norm, epsilon) in _pairs(module, variables, images).items():
    scale, bias = (params.pop((*norm, name)) for name in ('scale', 'bias'))
    mean, var = (stats.pop((*norm, name)) for name in ('mean', 'var'))
    factor = scale / np.sqrt(var + np.float32(epsilon))
    own = params.get((*product, 'bias'), np.float32(0))
    params[*product, 'kernel'] = params[*product, 'kernel'] * factor
    params[*product, 'bias'] = bias + (own - mean) * factor
  return {
    **variables,
    'params': unflatten_dict(params),
    'batch_stats': unflatten_dict(stats),
  }


def _flat(tree: PyTree) -> dict[Path, np.ndarray]:
  return {path: np.asarray(leaf) for path, leaf in flatten_dict(tree).items()}


def _pairs(
  module: nn.Module, variables: PyTree, images: jax.ShapeDtypeStruct
) -> dict[Path, tuple[Path, float]]:
  """Layers that only a norm reads, with that norm and its epsilon."""
  marks: list[tuple[str, nn.Module]] = []  # a value's name is its place here

  def marked(value: jax.Array, kind: str, layer: nn.Module) -> jax.Array:
    marks.append((kind, layer))
    return checkpoint_name(value, str(len(marks) - 1))

  def look(call, args, kwargs, context):
    layer = context.module
    if context.method_name != '__call__':
      return call(*args, **kwargs)
    if isinstance(layer, BatchNorm):
      args = (marked(args[0], 'norm', layer), *args[1:])
    found = call(*args, **kwargs)
    if isinstance(layer, (Conv, Dense)):
      found = marked(found, 'product', layer)
    return found

  def forward(variables, images):
    return module.apply(variables, images, train=False)

  with nn.intercept_methods(look):
    traced = jax.make_jaxpr(forward)(variables, images).jaxpr
  return _read_by_a_norm(traced, marks)


def _read_by_a_norm(
  traced: Any, marks: list[tuple[str, nn.Module]]
) -> dict[Path, tuple[Path, float]]:
  """Of what was traced, the marked values that a marked norm alone reads."""
  read = [value for equation in traced.eqns for value in equation.invars]
  reads = collections.Counter(
    value for value in read + traced.outvars if not isinstance(value, Literal)
  )
  calls = collections.Counter(layer.path for _, layer in marks)
  products, pairs = {}, {}
  for equation in traced.eqns:
    if equation.primitive.name != 'name':
      continue
    (value,), (result,) = equation.invars, equation.outvars
    kind, layer = marks[int(equation.params['name'])]
    if kind == 'product' and calls[layer.path] == 1:
      products[result] = layer.path
    elif value in products and reads[value] == calls[layer.path] == 1:
      pairs[products[value]] = layer.path, layer.epsilon
  return pairs
