"""Linen modules as networks."""

import functools
import inspect
from typing import Any

import flax.linen as nn

from kdjax.features import LinearClassifier
from kdjax.models.folding import fold_batch_norm
from kdjax.network import RANDOM, Network
from kdjax.typing import PyTree


def linen_network(
  module: nn.Module,
  *,
  name: str,
  mean: tuple[float, ...] = (0.0,),
  std: tuple[float, ...] = (1.0,),
) -> Network:
  """Creates a `Network` from a Linen module that returns `Features`.

  Args:
    module: Called as `module(images, train=…)`. Optional are a method
      `tail(hidden, start, train=…)`, which starts in the middle, a method
      `classify(embedding)`, which is the classifier alone, and an attribute
      `classifier_name`: the path in the parameters, such as `head`, of a linear
      classifier with a `kernel` and a `bias`.
    name: Name in tables and messages.
    mean: Per-channel mean of the images in [0, 1].
    std: Per-channel standard deviation of the images in [0, 1].

  Returns:
    The network; its abilities are those for which the module has methods.

  Raises:
    ValueError: If the module is not called with `train`.

  Examples:
    >>> import flax.linen as nn
    >>> from kdjax import models
    >>> from kdjax.features import Features
    >>> class OneStage(nn.Module):
    ...   num_classes: int
    ...
    ...   @nn.compact
    ...   def __call__(self, images, *, train):
    ...     hidden = nn.Conv(8, (3, 3))(images)
    ...     stages = (nn.relu(hidden),)
    ...     embedding = stages[-1].mean(axis=(1, 2))
    ...     logits = nn.Dense(self.num_classes)(embedding)
    ...     return Features(stages, (hidden,), stages, embedding, logits)
    >>> module = OneStage(num_classes=5)
    >>> network = models.linen_network(module, name='one_stage')
    >>> network.describe((32, 32, 3)).features.logits.shape
    (1, 5)
  """

  if 'train' not in inspect.signature(module.__call__).parameters:
    raise ValueError(
      f'{name}: networks are called as module(images, train=…), but '
      f'{type(module).__name__}.__call__ has no argument `train`; add it, see '
      'docs/own-networks.md.'
    )

  def run(variables, train, *args, **kwargs) -> tuple[Any, PyTree]:
    variables = dict(variables)
    keys = variables.pop(RANDOM, {})
    if not train:
      features = module.apply(variables, *args, train=False, **kwargs)
      return features, variables.get('batch_stats', {})
    features, updated = module.apply(
      variables,
      *args,
      train=True,
      mutable=['batch_stats'],
      rngs=keys,
      **kwargs,
    )
    return features, updated.get('batch_stats', {})

  def init(key, images):
    return {'batch_stats': {}, **module.init(key, images, train=False)}

  def forward_tail(variables, hidden, start, train):
    return run(variables, train, hidden, start, method='tail')

  def forward_head(variables, embedding) -> Any:
    return module.apply(variables, embedding, method='classify')

  return Network(
    name=name,
    init=init,
    forward=lambda variables, images, train: run(variables, train, images),
    forward_tail=forward_tail if hasattr(module, 'tail') else None,
    forward_head=forward_head if hasattr(module, 'classify') else None,
    **_classifier_access(getattr(module, 'classifier_name', None)),
    boundary=getattr(module, 'boundary', 'post_relu'),
    mean=mean,
    std=std,
    fold=functools.partial(fold_batch_norm, module),
  )


def _classifier_access(name: str | None) -> dict[str, Any]:
  """Functions that read and write a linear classifier, if there is one."""
  if name is None:
    return {}
  path = ('params', *name.split('/'))
  return {
    'read_classifier': functools.partial(_read_linear, path),
    'write_classifier': functools.partial(_write_linear, path),
  }


def _read_linear(path: tuple[str, ...], variables: PyTree) -> LinearClassifier:
  """Returns the classifier at a path of nested dictionaries."""
  layer = functools.reduce(lambda tree, name: tree[name], path, variables)
  return LinearClassifier(layer['kernel'], layer['bias'])


def _write_linear(
  path: tuple[str, ...], variables: PyTree, classifier: LinearClassifier
) -> PyTree:
  """Returns nested dictionaries with another classifier at a path."""
  if not path:
    return {'kernel': classifier.kernel, 'bias': classifier.bias}
  name, *rest = path
  below = _write_linear(tuple(rest), variables[name], classifier)
  return {**variables, name: below}
