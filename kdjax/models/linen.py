"""Linen modules as networks."""

import functools
from typing import Any

import flax.linen as nn

from kdjax.features import LinearClassifier
from kdjax.models.folding import fold_batch_norm
from kdjax.network import Network
from kdjax.typing import PyTree


def linen_network(
  module: nn.Module,
  *,
  name: str,
  mean: tuple[float, ...] = (0.0,),
  std: tuple[float, ...] = (1.0,),
) -> Network:
  """A `Network` from a Linen module that returns `Features`.

  Args:
    module: Called as `module(images, train=…)`; with a method
      `tail(hidden, start, train=…)` if it can be entered in the middle, and
      with a method `classify(embedding)` if its classifier can run alone,
      and an attribute `classifier_name` if that is linear: the path in its
      parameters, as `head`, to what has a `kernel` and a `bias`.
    name: As tables and messages print it.
    mean: Per-channel mean of the images in [0, 1].
    std: Per-channel standard deviation of the images in [0, 1].
  """

  def run(variables, train, *args, **kwargs) -> tuple[Any, PyTree]:
    if not train:
      features = module.apply(variables, *args, train=False, **kwargs)
      return features, variables.get('batch_stats', {})
    features, updated = module.apply(
      variables, *args, train=True, mutable=['batch_stats'], **kwargs
    )
    return features, updated.get('batch_stats', {})

  def init(key, images):
    return {'batch_stats': {}, **module.init(key, images, train=False)}

  def forward_tail(variables, hidden, start, train):
    return run(variables, train, hidden, start, method='tail')

  def forward_head(variables, embedding) -> Any:
    return module.apply(variables, embedding, method='classify')

  named = getattr(module, 'classifier_name', None)
  return Network(
    name=name,
    init=init,
    forward=lambda variables, images, train: run(variables, train, images),
    forward_tail=forward_tail if hasattr(module, 'tail') else None,
    forward_head=forward_head if hasattr(module, 'classify') else None,
    **_linear_at(named),
    boundary=getattr(module, 'boundary', 'post_relu'),
    mean=mean,
    std=std,
    fold=functools.partial(fold_batch_norm, module),
  )


def _linear_at(name: str | None) -> dict[str, Any]:
  """How a linear classifier is read and written, if there is one."""
  if name is None:
    return {}
  place = ('params', *name.split('/'))
  return {
    'read_classifier': functools.partial(_read_linear, place),
    'write_classifier': functools.partial(_write_linear, place),
  }


def _read_linear(place: tuple[str, ...], variables: PyTree) -> LinearClassifier:
  """The classifier at a path of nested dicts."""
  layer = functools.reduce(lambda tree, name: tree[name], place, variables)
  return LinearClassifier(layer['kernel'], layer['bias'])


def _write_linear(
  place: tuple[str, ...], variables: PyTree, classifier: LinearClassifier
) -> PyTree:
  """A copy of the nested dicts along a path, with another classifier there."""
  if not place:
    return {'kernel': classifier.kernel, 'bias': classifier.bias}
  name, *rest = place
  below = _write_linear(tuple(rest), variables[name], classifier)
  return {**variables, name: below}
