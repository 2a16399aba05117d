r"""Batch norm folded into the layer before it, for evaluation mode.

A network that is no longer trained normalizes with constants. Where a batch
norm is the only reader of a convolution or a linear layer,

.. math:: \gamma \frac{k * x + b - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta
   = (f k) * x + \beta + f (b - \mu),
   \qquad f = \gamma / \sqrt{\sigma^2 + \epsilon},

so that one kernel and one bias replace both layers (Jacob et al., `Quantization
and training of neural networks <https://arxiv.org/abs/1712.05877>`_, CVPR 2018,
section 3.2). The collection `folded` of the variables then holds a marker for
both layers, by which they know that the batch norm is the identity and that the
layer before it has a bias (`kdjax.layers.is_folded`); variables that are absent
without a marker are an error. Batch norms of sums, such as those at the start
of a block of a wide ResNet, stay as they are.
"""

import collections
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.ad_checkpoint import checkpoint_name
from jax.extend.core import Literal

from kdjax.layers import FOLDED, MARKER, BatchNorm, Conv, Dense, is_folded
from kdjax.typing import PyTree

Path = tuple[str, ...]


def fold_batch_norm(
  module: nn.Module, variables: PyTree, images: jax.ShapeDtypeStruct
) -> PyTree:
  """Folds every batch norm that can be folded, on the host.

  Args:
    module: Called as `module(images, train=False)`.
    variables: Its collections, `params` and `batch_stats` among them.
    images: Shape and dtype of a batch of images; no values are computed.

  Returns:
    Float32 variables with which the module computes the same in evaluation
    mode, up to rounding, and with which it cannot be trained: `params` and
    `batch_stats` without the folded batch norms, and a collection `folded` of
    markers.

  Raises:
    ValueError: If the variables lack some of the module's.
  """
  params = _flatten(variables['params'])
  stats = _flatten(variables['batch_stats'])
  markers = _flatten(variables.get(FOLDED, {}))
  for layer, (norm, epsilon) in _pairs(module, variables, images).items():
    scale, bias = (params.pop((*norm, name)) for name in ('scale', 'bias'))
    mean, var = (stats.pop((*norm, name)) for name in ('mean', 'var'))
    factor = scale / np.sqrt(var + np.float32(epsilon))
    own = params.get((*layer, 'bias'), np.float32(0))
    params[*layer, 'kernel'] = params[*layer, 'kernel'] * factor
    params[*layer, 'bias'] = bias + (own - mean) * factor
    markers |= {(*path, MARKER): np.array(True) for path in (layer, norm)}
  return {
    **variables,
    'params': unflatten_dict(params),
    'batch_stats': unflatten_dict(stats),
    FOLDED: unflatten_dict(markers),
  }


def _flatten(tree: PyTree) -> dict[Path, np.ndarray]:
  return {path: np.asarray(leaf) for path, leaf in flatten_dict(tree).items()}


def _pairs(
  module: nn.Module, variables: PyTree, images: jax.ShapeDtypeStruct
) -> dict[Path, tuple[Path, float]]:
  """Finds layers that only a batch norm reads.

  Returns:
    By the layer's path: the batch norm's path and epsilon.
  """
  calls: list[tuple[str, nn.Module]] = []  # a tagged value's name is its index

  def tag(value: jax.Array, kind: str, layer: nn.Module) -> jax.Array:
    calls.append((kind, layer))
    return checkpoint_name(value, str(len(calls) - 1))

  def tag_call(call, args, kwargs, context):
    layer = context.module
    if context.method_name != '__call__':
      return call(*args, **kwargs)
    if isinstance(layer, BatchNorm) and not is_folded(layer):
      args = (tag(args[0], 'norm', layer), *args[1:])
    output = call(*args, **kwargs)
    if isinstance(layer, (Conv, Dense)):
      output = tag(output, 'product', layer)
    return output

  def forward(variables, images):
    return module.apply(variables, images, train=False)

  with nn.intercept_methods(tag_call):
    traced = jax.make_jaxpr(forward)(variables, images).jaxpr
  return _read_by_one_norm(traced, calls)


def _read_by_one_norm(
  traced: Any, calls: list[tuple[str, nn.Module]]
) -> dict[Path, tuple[Path, float]]:
  """Selects the layers, called once, whose only reader is a batch norm."""
  inputs = [value for equation in traced.eqns for value in equation.invars]
  readers = collections.Counter(
    value for value in inputs + traced.outvars if not isinstance(value, Literal)
  )
  call_counts = collections.Counter(layer.path for _, layer in calls)
  products, pairs = {}, {}
  for equation in traced.eqns:
    if equation.primitive.name != 'name':
      continue
    (value,), (result,) = equation.invars, equation.outvars
    kind, layer = calls[int(equation.params['name'])]
    if kind == 'product' and call_counts[layer.path] == 1:
      products[result] = layer.path
    elif value in products and readers[value] == call_counts[layer.path] == 1:
      pairs[products[value]] = layer.path, layer.epsilon
  return pairs
