"""`fcfd`: loss terms and bridges, complete steps, and a trajectory."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdjax import losses
from kdjax.methods.bridges import Side, make_bridge
from kdjax.methods.schedules import value_at, warm_up
from tests.golden.comparison import Comparison, Stored, compare, not_compared
from tests.golden.kinds import fcfd_steps, fcfd_trajectory

_TOLERANCES = {'float32': 1e-5, 'float64': 1e-9}
_INPUTS = ('stage_input_of_target', 'layers', 'x', 'cotangent', 'state/')
_GROUPS = {
  'kl': ('student_logits', 'teacher_logits', 'T'),
  'ce': ('logits', 'labels'),
  'l2_': ('teacher', 'is_final', 'aligned'),
  'bridge': _INPUTS,
  'roi': (
    'student_logits',
    'teacher_logits',
    'student_deltas',
    'teacher_deltas',
    'T',
  ),
  'pyramid': ('student', 'teacher'),
}


def check(path: pathlib.Path) -> list[Comparison]:
  """Compares every stored result of one file."""
  stored = Stored.read(path)
  with jax.enable_x64(True):
    if 'meta/combos' in stored:
      return fcfd_steps.full_step(stored)
    if 'meta/steps' in stored:
      return fcfd_trajectory.trajectory(stored)
    return _loss_terms(stored)


def _loss_terms(stored: Stored) -> list[Comparison]:
  """Compares terms, bridges and schedules in both precisions."""
  results = _schedules(stored)
  inputs = ['warm/cifar_epochs', 'weight_schedule/']
  for group in sorted({key.partition('/')[0] for key in stored}):
    kind = next((kind for kind in _GROUPS if group.startswith(kind)), None)
    if kind is None:
      continue
    case = Stored(
      (key.removeprefix(f'{group}/'), value)
      for key, value in stored.items()
      if key.startswith(f'{group}/')
    )
    inputs += [
      f'{group}/{key}' for key in case if key.startswith(_GROUPS[kind])
    ]
    for dtype, tolerance in _TOLERANCES.items():
      got = _KINDS[kind](case, jnp.dtype(dtype))
      for name, value in got.items():
        key = f'{group}/{dtype}/{name}'
        if key in stored:
          scale = None
          if name == 'grad_norm/0.bias':
            # A bias before a norm has no effect: its gradient is rounding, of
            # the order of the kernel's gradient.
            scale = float(stored[f'{group}/{dtype}/grad_norm/0.weight'])
          results.append(
            compare(key, value, stored[key], tolerance, scale=scale)
          )
  # PyTorch counts batches for norms without momentum; ours have momentum.
  inputs += [key for key in stored if key.endswith('num_batches_tracked')]
  return results + not_compared(stored, results, tuple(inputs))


def _schedules(stored: Stored) -> list[Comparison]:
  results = []
  if 'warm/cifar_epochs' in stored:
    epochs = stored['warm/cifar_epochs']
    for name, length in (('cifar', 20), ('imagenet', 5)):
      want = stored[f'warm/{name}']
      got = warm_up(length)(epochs)
      results.append(compare(f'warm/{name}', got, want, 1e-7))
  if 'weight_schedule/x' in stored:
    steps = tuple(
      (int(x), float(y))
      for x, y in zip(stored['weight_schedule/x'], stored['weight_schedule/y'])
    )
    key = 'weight_schedule/value'
    got = value_at(steps, stored['weight_schedule/epochs'])
    results.append(compare(key, got, stored[key], 0.0))
  return results


def _kl(case: Stored, dtype) -> dict[str, Any]:
  student, teacher = (
    jnp.asarray(case[f'{role}_logits'], dtype)
    for role in ('student', 'teacher')
  )

  def loss(student):
    temperature = float(case['T'])
    return losses.soft_target_kl(
      student, teacher, temperature=temperature
    ).mean()

  value, gradient = jax.value_and_grad(loss)(student)
  return {'value': value, 'grad_student': gradient}


def _ce(case: Stored, dtype) -> dict[str, Any]:
  def loss(logits):
    return losses.cross_entropy(logits, case['labels'].astype(int)).mean()

  value, gradient = jax.value_and_grad(loss)(jnp.asarray(case['logits'], dtype))
  return {'value': value, 'grad': gradient}


def _l2(case: Stored, dtype) -> dict[str, Any]:
  """Computes the terms of one stage, with the pooled term if it is the last."""
  teacher = _nhwc(case['teacher'], dtype)
  maps = []
  while f'aligned{len(maps)}' in case:
    maps.append(_nhwc(case[f'aligned{len(maps)}'], dtype))

  def loss(maps):
    total = jnp.zeros((), dtype)
    for aligned in maps:
      total += losses.mean_squared_error(aligned, teacher).mean()
      if case['is_final']:
        pooled = (jax.nn.relu(x).mean((1, 2)) for x in (aligned, teacher))
        total += losses.mean_squared_error(*pooled).mean()
    return total

  value, gradients = jax.value_and_grad(loss)(maps)
  return {
    'value': value,
    **{f'grad{i}': _nchw(gradient) for i, gradient in enumerate(gradients)},
  }


def _bridge(case: Stored, dtype) -> dict[str, Any]:
  x, cotangent = (_nhwc(case[name], dtype) for name in ('x', 'cotangent'))
  kind = {'afterrelu': 'post_relu', 'beforerelu': 'pre_relu'}
  boundary = kind.get(str(case['stage_input_of_target']), 'pre_norm')
  bridge = make_bridge(
    1,
    Side('', x.shape[1:], 'post_relu'),
    Side('', cotangent.shape[1:], boundary),
  )
  kernel = jnp.asarray(case['state/0.weight'].transpose(2, 3, 1, 0), dtype)
  params = {
    'conv': {'kernel': kernel},
    'norm': {
      'scale': jnp.asarray(case['state/1.weight'], dtype),
      'bias': jnp.asarray(case['state/1.bias'], dtype),
    },
  }
  if 'state/0.bias' in case:
    params['conv']['bias'] = jnp.asarray(case['state/0.bias'], dtype)
  stats = {
    'norm': {
      leaf: jnp.asarray(case[f'state/1.running_{leaf}'], dtype)
      for leaf in ('mean', 'var')
    }
  }

  def loss(x, params):
    y, updated = bridge.apply(
      {'params': params, 'batch_stats': stats},
      x,
      train=True,
      mutable=['batch_stats'],
    )
    return jnp.sum(y * cotangent), (y, updated['batch_stats']['norm'])

  (_, (y, after)), gradients = jax.value_and_grad(
    loss, argnums=(0, 1), has_aux=True
  )(x, params)
  evaluated = bridge.apply(
    {'params': params, 'batch_stats': stats}, x, train=False
  )
  norm = gradients[1]['norm']
  results = {
    'y_train': _nchw(y)[: 1 if dtype == jnp.float64 else None],
    'y_eval': _nchw(evaluated),
    'grad_x_norm': jnp.linalg.norm(gradients[0]),
    'grad_norm/0.weight': jnp.linalg.norm(gradients[1]['conv']['kernel']),
    'grad_norm/1.weight': jnp.linalg.norm(norm['scale']),
    'grad_norm/1.bias': jnp.linalg.norm(norm['bias']),
    'buffers_after/1.running_mean': after['mean'],
    'buffers_after/1.running_var': after['var'],
  }
  if 'bias' in gradients[1]['conv']:
    left = jnp.linalg.norm(gradients[1]['conv']['bias'])
    results['grad_norm/0.bias'] = left
  return results


def _roi(case: Stored, dtype) -> dict[str, Any]:
  """Computes the terms of the box head in detection."""
  student, teacher = (
    {
      name: jnp.asarray(case[f'{role}_{name}'], dtype)
      for name in ('logits', 'deltas')
    }
    for role in ('student', 'teacher')
  )
  divergence = losses.soft_target_kl(
    student['logits'], teacher['logits'], temperature=float(case['T'])
  )
  distance = losses.mean_squared_error(student['deltas'], teacher['deltas'])
  return {'kd': divergence.mean(), 'deltas_l2': distance.mean()}


def _pyramid(case: Stored, dtype) -> dict[str, Any]:
  levels = sum(key.startswith('teacher') for key in case)
  total = jnp.zeros((), dtype)
  for level in range(levels):
    pair = (
      jnp.asarray(case[f'{role}{level}'], dtype)
      for role in ('student', 'teacher')
    )
    total += losses.mean_squared_error(*pair).mean()
  return {'loss_app': total}


def _nhwc(array: np.ndarray, dtype) -> jax.Array:
  return jnp.asarray(array.transpose(0, 2, 3, 1), dtype)


def _nchw(array: jax.Array) -> jax.Array:
  return array.transpose(0, 3, 1, 2)


_KINDS = {
  'kl': _kl,
  'ce': _ce,
  'l2_': _l2,
  'bridge': _bridge,
  'roi': _roi,
  'pyramid': _pyramid,
}
