"""`imagenet_networks`: torchvision's networks in evaluation mode, in float64.

`tests.golden.make_imagenet_networks` makes the files. Both sides compute in
float64, so a result may be off by 1e-10 of itself, and a mean or projection by
as much of the root mean square.
"""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from kdjax import models
from kdjax.convert.torch import layout, names
from kdjax.features import Features
from tests.golden import hashed
from tests.golden.comparison import Comparison, Stored, compare, not_compared

_TOLERANCE = 1e-10
_IMAGES, _SIZE = 2, 64


def check(path: pathlib.Path) -> list[Comparison]:
  """Compares every stored result of one file; `[]` for an unknown network."""
  name = path.stem
  if name not in models.NETWORKS:
    return []
  stored = Stored.read(path)
  with jax.enable_x64(True):
    features, num_params = _features(name, len(stored['logits'].T))
  maps = {f'stage_{i}': _nchw(x) for i, x in enumerate(features.stages)}
  maps['embedding'] = np.asarray(features.embedding)
  results = [
    compare('num_params', num_params, stored['num_params'], 0.0),
    compare('logits', features.logits, stored['logits'], _TOLERANCE),
  ]
  for key, value in maps.items():
    _, size, _ = stored[key]
    got = hashed.summary(value, key)
    results.append(compare(key, got, stored[key], _TOLERANCE, scale=size))
  return results + not_compared(stored, results, ())


def _features(name: str, num_classes: int) -> tuple[Features, int]:
  """Features of the images, and the number of trained parameters."""
  network = models.create(name, num_classes=num_classes, dtype=jnp.float64)
  template = network.describe((_SIZE, _SIZE, 3)).variables
  rules = _rules(name)
  arrays = {
    key: hashed.weight(key, shape)
    for key, shape in layout.torch_shapes(template, rules).items()
  }
  variables = jax.tree.map(
    lambda leaf: jnp.asarray(leaf, jnp.float64),
    layout.from_torch(arrays, template, rules),
  )
  images = hashed.images(_IMAGES, _SIZE).transpose(0, 2, 3, 1)
  forward = jax.jit(functools.partial(network.apply, train=False))
  features, _ = forward(variables, jnp.asarray(images, jnp.float64))
  return features, sum(x.size for x in jax.tree.leaves(variables['params']))


def _rules(name: str) -> names.Rules:
  """Names of torchvision, which has no MobileNetV1."""
  library = None if name == 'imagenet_mobilenet_v1' else 'torchvision'
  return names.rules_of(name, library)


def _nchw(maps: jax.Array) -> np.ndarray:
  return np.asarray(maps).transpose(0, 3, 1, 2)
