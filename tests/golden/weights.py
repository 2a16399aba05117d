"""Weights of the golden files, drawn from a seed in PyTorch's layer order."""

from typing import Any

import jax
import numpy as np

from kdjax import models
from kdjax.convert.torch import layout as torch_layout
from kdjax.convert.torch import names

PyTree = Any


def draw(
  seed: int, shapes: dict[str, tuple[int, ...]], norms: set[str]
) -> dict[str, np.ndarray]:
  """Draws arrays by PyTorch name: float32 values that are exact in float16.

  Args:
    seed: Seed of NumPy's legacy generator.
    shapes: Shapes by name, in PyTorch's order and layout.
    norms: Names of the batch norms.
  """
  # The legacy generator's stream does not change between NumPy versions.
  random = np.random.RandomState(seed)
  drawn = {}
  for name, shape in shapes.items():
    if len(shape) == 4:
      out, inputs, kh, kw = shape
      depthwise = inputs == 1 and kh > 1
      fan = kh * kw if depthwise else out * kh * kw
      value = random.randn(*shape) * np.sqrt(2 / fan)
    elif len(shape) == 2:
      value = random.randn(*shape) * np.sqrt(1 / shape[1])
    elif name.endswith('.weight') and name.removesuffix('.weight') in norms:
      value = random.uniform(0.5, 1.5, size=shape)
    else:
      value = random.randn(*shape) * 0.1
    drawn[name] = value.astype(np.float16).astype(np.float32)
  return drawn


def template(name: str, num_classes: int, image_shape: tuple[int, ...]):
  """Returns the shapes of a network's variables."""
  network = models.create(name, num_classes=num_classes)
  return network.describe(image_shape).variables


def build(
  name: str,
  *,
  seed: int,
  running_mean: np.ndarray,
  running_var: np.ndarray,
  num_classes: int = 100,
  image_shape: tuple[int, ...] = (32, 32, 3),
) -> PyTree:
  """Returns variables from a seed and concatenated running statistics."""
  shapes = template(name, num_classes, image_shape)
  arrays = draw(seed, param_shapes(name, shapes), set(norm_names(name, shapes)))
  arrays.update(statistics(name, shapes, running_mean, running_var))
  return torch_layout.from_torch(arrays, shapes, names.rules_of(name))


def param_shapes(name: str, shapes: PyTree) -> dict[str, tuple[int, ...]]:
  """Returns the parameters' shapes in PyTorch's layout and order."""
  converted = _converted(name, {'params': _empty(shapes['params'])})
  return {key: value.shape for key, value in converted.items()}


def norm_names(name: str, shapes: PyTree) -> dict[str, int]:
  """Returns the channels of each batch norm, in PyTorch's order."""
  converted = _converted(name, {'batch_stats': _empty(shapes['batch_stats'])})
  return {
    key.removesuffix('.running_mean'): value.size
    for key, value in converted.items()
    if key.endswith('.running_mean')
  }


def statistics(
  name: str, shapes: PyTree, running_mean: np.ndarray, running_var: np.ndarray
) -> dict[str, np.ndarray]:
  """Splits concatenated running statistics into arrays by PyTorch name."""
  norms = norm_names(name, shapes)
  cuts = np.cumsum(list(norms.values()))[:-1]
  arrays = {}
  for norm, mean, var in zip(
    norms, np.split(running_mean, cuts), np.split(running_var, cuts)
  ):
    arrays[f'{norm}.running_mean'] = mean
    arrays[f'{norm}.running_var'] = var
  return arrays


def concatenated(name: str, batch_stats: PyTree, statistic: str) -> np.ndarray:
  """Concatenates all running means or variances, in PyTorch's order."""
  converted = _converted(name, {'batch_stats': batch_stats})
  return np.concatenate(
    [value for key, value in converted.items() if key.endswith(statistic)]
  )


def by_torch_name(name: str, params: PyTree) -> dict[str, np.ndarray]:
  """Returns parameters with PyTorch's names, order and layout."""
  return _converted(name, {'params': params})


def norms_by_name(name: str, params: PyTree) -> dict[str, float]:
  """Returns the L2 norm of every parameter or gradient, in PyTorch's order."""
  return {
    key: float(np.linalg.norm(value.astype(np.float64).ravel()))
    for key, value in _converted(name, {'params': params}).items()
  }


def _converted(name: str, variables: PyTree) -> dict[str, np.ndarray]:
  return torch_layout.to_torch(variables, names.rules_of(name))


def _empty(shapes: PyTree) -> PyTree:
  return jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), shapes)
