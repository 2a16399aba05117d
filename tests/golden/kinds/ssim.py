"""`ssim_...`: structural dissimilarity of feature maps, in float64.

Errors are relative to the largest value of an array, or to `_SMALL` where that
is smaller, as for the gradients of equal maps, which are rounding.
"""

import functools
import json
import pathlib
import types

import jax
import jax.numpy as jnp
import numpy as np

from kdjax import losses
from kdjax.methods import Ssim
from tests.golden.comparison import Comparison, Stored, compare, not_compared
from tests.methods import support

_SMALL = 1e-4
_BORDERS = {'same': 'reflect', 'valid': 'valid'}


def check_core(path: pathlib.Path) -> list[Comparison]:
  """Checks `ssim_core`: the map, the loss and its gradient."""
  stored, cases = _read(path)
  results = []
  for case in cases:
    name = f'c{case["case"]}_'
    settings = losses.SsimSettings(
      window=case['window'],
      border=_BORDERS[case['border']],
      data_range=case['max_val'],
    )
    pair = _maps(stored, name)
    distance = functools.partial(losses.ssim, settings=settings)
    results += _loss(stored, name, pair, distance)
    similarity = jax.jit(losses.ssim_map, static_argnums=2)(*pair, settings)
    results.append(_value(f'{name}ssim_map', _nchw(similarity), stored))
  return results + _not_compared(stored, results)


def check_minmax(path: pathlib.Path) -> list[Comparison]:
  """Checks `ssim_minmax`: the loss of rescaled maps and its gradient."""
  stored, cases = _read(path)
  results = []
  for case in cases:
    name = f'c{case["case"]}_'
    method = Ssim(
      extent=case['normalise'],
      epsilon=case['eps'],
      similarity=losses.SsimSettings(window=case['window']),
    )
    results += _loss(stored, name, _maps(stored, name), method.distance)
  return results + _not_compared(stored, results)


def check_components(path: pathlib.Path) -> list[Comparison]:
  """Checks `ssim_components`: the three terms, and losses by exponents."""
  stored, cases = _read(path)
  pair = _maps(stored, '')
  terms = jax.jit(losses.ssim_components)(*pair)
  results = [
    _value(f'{name}_map', _nchw(term), stored)
    for name, term in zip('lcs', terms)
  ]
  for case in cases:
    exponents = [case[name] for name in ('alpha', 'beta', 'gamma')]
    settings = losses.SsimSettings(
      luminance=exponents[0], contrast=exponents[1], structure=exponents[2]
    )
    name = 'e{}{}{}_'.format(*exponents)
    distance = functools.partial(losses.ssim, settings=settings)
    results += _loss(stored, name, pair, distance)
  return results + _not_compared(stored, results)


def check_fpn(path: pathlib.Path) -> list[Comparison]:
  """Checks `ssim_fpn`: the method over the levels of a pyramid."""
  stored, case = _read(path)
  levels = range(len(case['levels']))
  method = Ssim(
    weight=case['lam'],
    stages=tuple(levels),
    adapter='always',
    extent=case['normalise'],
    epsilon=case['eps'],
    similarity=losses.SsimSettings(window=case['window']),
  )
  pairs = [_maps(stored, f'l{level}_') for level in levels]
  layers = {
    str(level): {
      'kernel': _array(stored, f'l{level}_W').T,
      'bias': _array(stored, f'l{level}_b'),
    }
    for level in levels
  }

  def loss(student, layers):
    variables = {'params': layers, 'state': {}}
    networks = (_pass(student), _pass([teacher for _, teacher in pairs]))
    total = method.terms(variables, *networks, {}, support.context())[0]['ssim']
    return total, [
      method.distance(x @ layer['kernel'] + layer['bias'], teacher).mean()
      for x, layer, (_, teacher) in zip(student, layers.values(), pairs)
    ]

  students = [student for student, _ in pairs]
  (value, level_losses), (to_students, to_layers) = jax.jit(
    jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
  )(students, layers)
  results = [_value('loss', value, stored)]
  for level in levels:
    name, slopes = f'l{level}_', to_layers[str(level)]
    results += [
      _value(f'{name}loss', level_losses[level], stored),
      _gradient(f'{name}grad_student', _nchw(to_students[level]), stored),
      _gradient(f'{name}grad_W', slopes['kernel'].T, stored),
      _gradient(f'{name}grad_b', slopes['bias'], stored),
    ]
  return results + _not_compared(stored, results)


def _read(path):
  stored = Stored.read(path)
  return stored, json.loads(str(stored['meta']))


def _array(stored, name):
  return jnp.asarray(stored[name].astype(jnp.result_type(float)))


def _maps(stored, name):
  """Returns student and teacher maps `[B, H, W, C]` in the enabled dtype."""
  return tuple(
    _array(stored, name + role).transpose(0, 2, 3, 1)
    for role in ('student', 'teacher')
  )


def _nchw(maps):
  return np.asarray(maps).transpose(0, 3, 1, 2)


def _pass(stages):
  return types.SimpleNamespace(features=types.SimpleNamespace(stages=stages))


def _loss(stored, name, pair, distance):
  """Compares the mean over the batch, and its gradient if it is stored."""
  value, gradient = jax.jit(
    jax.value_and_grad(lambda x, y: distance(x, y).mean())
  )(*pair)
  results = [_value(f'{name}loss', value, stored)]
  key = f'{name}grad_student'
  if key in stored:
    results.append(_gradient(key, _nchw(gradient), stored))
  return results


def _value(name, got, stored):
  exact = jnp.result_type(float) == jnp.float64
  if exact:
    scale = max(float(np.max(np.abs(stored[name]))), _SMALL)
    return compare(name, got, stored[name], 1e-9, scale=scale)
  # Float32 tolerances are absolute: of a loss, and of a map in [-1, 1].
  tolerance = 1e-5 if np.ndim(got) == 0 else 1e-4
  return compare(name, got, stored[name], tolerance, scale=1.0)


def _gradient(name, got, stored):
  exact = jnp.result_type(float) == jnp.float64
  scale = max(float(np.max(np.abs(stored[name]))), _SMALL)
  return compare(name, got, stored[name], 1e-8 if exact else 1e-3, scale=scale)


def _not_compared(stored, results):
  pairs = ('student', 'teacher', 'W', 'b')
  inputs = [key for key in stored if key.rpartition('_')[2] in pairs]
  inputs = [key for key in inputs if '_grad_' not in key]
  return not_compared(stored, results, ('meta', *inputs))
