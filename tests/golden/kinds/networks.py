"""`networks`: features in both modes, running statistics and gradients."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from kdjax import losses, models
from kdjax.convert.torch import layout as torch_layout
from kdjax.convert.torch import names
from kdjax.features import Features
from tests.golden import weights
from tests.golden.comparison import Comparison, Stored, compare, not_compared

# As in the golden files' README; ten times as large for deep networks and for
# gradients.
_TOLERANCE = 1e-4
_DEEP = ('resnet110', 'ResNet50')
_INPUTS = (
  *('x', 'labels', 'weights_seed', 'param_names', 'param_shapes', 'w/'),
  *('bn_names', 'bn_channels', 'running_mean', 'running_var'),
)


def check(path: pathlib.Path) -> list[Comparison]:
  """Compares every stored result of one file; `[]` for an unknown network."""
  name = path.stem.split('_seed')[0]
  if name not in models.NETWORKS:
    return []
  stored = Stored.read(path)
  tolerance = _TOLERANCE * (10 if name in _DEEP else 1)
  evaluated, trained, loss, batch_stats, gradients = _passes(
    name, stored, jnp.float32
  )
  results = {
    'n_params': sum(leaf.size for leaf in jax.tree.leaves(gradients)),
    'train.loss_ce': loss,
    'train.running_mean_after': weights.concatenated(
      name, batch_stats, 'running_mean'
    ),
    'train.running_var_after': weights.concatenated(
      name, batch_stats, 'running_var'
    ),
  }
  found = [
    *_features('eval', evaluated, evaluated.stages, stored, tolerance),
    *_features(
      'eval.preact', evaluated, evaluated.pre_stages, stored, tolerance
    ),
    *_features('train', trained, trained.stages, stored, tolerance),
    *(
      compare(key, got, stored[key], 0.0 if key == 'n_params' else tolerance)
      for key, got in results.items()
    ),
    _gradient_norms(name, stored, gradients),
  ]
  return found + not_compared(stored, found, _INPUTS)


def _gradient_norms(name: str, stored: dict[str, Any], gradients) -> Comparison:
  """Compares the norms of all gradients, in float64 if float32 fails.

  Batch norm over four images amplifies rounding through fifty layers, and one
  ReLU whose input is zero up to rounding changes a gradient by more than the
  tolerance. In float64 only the rounding of the stored values remains.
  """
  for dtype in (jnp.float32, jnp.float64):
    if dtype == jnp.float64:
      with jax.enable_x64(True):
        *_, gradients = _passes(name, stored, dtype)
    norms = weights.norms_by_name(name, gradients)
    result = compare(
      'train.grad_norms',
      [norms[str(key)] for key in stored['param_names']],
      stored['train.grad_norms'],
      10 * _TOLERANCE,
    )
    if result.passed:
      break
  return result


def _passes(name: str, stored: dict[str, Any], dtype: DTypeLike):
  """Computes features in both modes, loss, statistics and gradients."""
  num_classes = next(s[0] for s in reversed(_shapes(stored)) if len(s) == 2)
  network = models.create(name, num_classes=num_classes, dtype=dtype)

  @jax.jit
  def passes(variables, images, labels):
    def loss(params):
      features, batch_stats = network.apply(
        {**variables, 'params': params}, images, train=True
      )
      value = losses.cross_entropy(features.logits, labels).mean()
      return value, (features, batch_stats)

    (value, (trained, batch_stats)), gradients = jax.value_and_grad(
      loss, has_aux=True
    )(variables['params'])
    evaluated, _ = network.apply(variables, images, train=False)
    return evaluated, trained, value, batch_stats, gradients

  variables = _variables(name, num_classes, stored)
  return passes(
    jax.tree.map(lambda leaf: leaf.astype(dtype), variables),
    jnp.asarray(stored['x'].transpose(0, 2, 3, 1), dtype),
    stored['labels'],
  )


def _shapes(stored: dict[str, np.ndarray]) -> list[tuple[int, ...]]:
  return [
    tuple(int(n) for n in str(shape).split(','))
    for shape in stored['param_shapes']
  ]


def _variables(name: str, num_classes: int, stored: dict[str, Any]):
  """Returns the file's weights, generated or read, and running statistics."""
  keys = [str(key) for key in stored['param_names']]
  arrays = weights.draw(
    int(stored['weights_seed']),
    dict(zip(keys, _shapes(stored))),
    {str(key) for key in stored['bn_names']},
  )
  for key in keys:
    if f'w/{key}' in stored:
      arrays[key] = stored[f'w/{key}'].astype(np.float32)
  cuts = np.cumsum(stored['bn_channels'])[:-1]
  for statistic in ('running_mean', 'running_var'):
    parts = np.split(stored[statistic], cuts)
    for norm, part in zip(stored['bn_names'], parts):
      arrays[f'{norm}.{statistic}'] = part
  _, channels, height, width = stored['x'].shape
  shapes = weights.template(name, num_classes, (height, width, channels))
  return torch_layout.from_torch(arrays, shapes, names.rules_of(name))


def _features(
  prefix: str,
  features: Features,
  stages: tuple[jax.Array | None, ...],
  stored: dict[str, np.ndarray],
  tolerance: float,
) -> list[Comparison]:
  """Compares logits and all summaries of features stored under a prefix."""
  results = []
  key = f'{prefix}.logits'
  if key in stored or prefix != 'eval.preact':  # which has features only
    results.append(compare(key, features.logits, stored[key], tolerance))
  maps = [*stages, features.embedding]
  listed = sum(
    key.startswith(f'{prefix}.feat') and key.endswith('.shape')
    for key in stored
  )
  results.append(compare(f'{prefix} features', len(maps), listed, 0.0))
  for index, value in enumerate(maps[:listed]):
    key = f'{prefix}.feat{index}'
    # A mean near zero is a small difference of values of the order of the
    # standard deviation.
    scale = np.hypot(stored[f'{key}.mean'], stored[f'{key}.std'])
    results += [
      compare(
        f'{key}.{summary}',
        got,
        stored[f'{key}.{summary}'],
        0.0 if summary == 'shape' else tolerance,
        scale=float(scale) if summary == 'mean' else None,
      )
      for summary, got in _summaries(np.asarray(value)).items()
    ]
  return results


def _summaries(value: np.ndarray) -> dict[str, np.typing.ArrayLike]:
  """Returns the stored summaries of a feature; maps are in NCHW layout."""
  if value.ndim == 4:
    value = value.transpose(0, 3, 1, 2)
    head = value[0, :8].reshape(min(8, value.shape[1]), -1)[:, :8]
  else:
    head = value[:, :16]
  return {
    'shape': value.shape,
    'mean': value.mean(dtype=np.float64),
    'std': value.std(dtype=np.float64),
    'head': head,
  }
