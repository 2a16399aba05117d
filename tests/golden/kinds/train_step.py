"""`train_step`: the recipe's schedule, and three steps of two methods."""

import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdjax import methods, models
from kdjax.tasks import SingleLabel
from kdjax.train import Parts, Recipe, TrainState, train_step
from tests.golden import weights
from tests.golden.comparison import Comparison, Stored, compare, not_compared

_TOLERANCE = 1e-4
_LINEAR = {'kernel': 'weight', 'bias': 'bias'}
# Methods, and for each column of the stored losses our term and its weight in
# the objective, by which it is divided.
_OBJECTIVES = {
  'ce_kd': (
    methods.Kd(),
    [('loss', 1.0), ('terms/task', 0.1), ('terms/kd', 0.9)],
  ),
  'icd': (
    methods.create('kd+icd'),
    [(name, 1.0) for name in ('loss', 'terms/task', 'terms/kd', 'terms/icd')],
  ),
}
# ICD's bias cancels in its loss: it changes by rounding of the logits only.
_SCALES = {'final.params.b': 1.0}
_INPUTS = (
  *('x', 'y', 'schedule.epoch'),
  *('student', 'student_weights_seed', 'student.'),
  *('teacher', 'teacher_weights_seed', 'teacher.'),
  *('icd.params.', 'icd.embed_s.', 'icd.embed_t.'),
)


def check(path: pathlib.Path) -> list[Comparison]:
  """Compares every stored result of one file."""
  stored = Stored.read(path)
  groups = {key.partition('.')[0] for key in stored}
  results = [_schedule(stored)] if 'schedule' in groups else []
  for prefix, (method, columns) in _OBJECTIVES.items():
    if prefix in groups:
      results += _objective(stored, prefix, method, columns)
  return results + not_compared(stored, results, _INPUTS)


def _schedule(stored: Mapping[str, np.ndarray]) -> Comparison:
  epochs = stored['schedule.epoch']
  recipe = Recipe()  # of 240 epochs, of which some are stored
  rates = [float(recipe.learning_rate_at(int(epoch) - 1)) for epoch in epochs]
  return compare('schedule.lr', rates, stored['schedule.lr'], 1e-6)


def _objective(stored, prefix, method, columns) -> list[Comparison]:
  """Compares the three steps of one objective, and the results after them."""
  student, teacher = str(stored['student']), str(stored['teacher'])
  network = models.create(student, num_classes=_classes(stored, prefix))
  parts = Parts(
    student=network,
    teacher=models.create(teacher, num_classes=_classes(stored, prefix)),
    method=method,
    task=SingleLabel(),
    augment=lambda key, batch: batch,
    optimizer=Recipe().optimizer(10**6, network, method),
    steps_per_epoch=10**6,
  )
  state = _state(stored, prefix, parts)
  teacher_variables = _variables(stored, prefix, 'teacher')
  step = jax.jit(
    lambda state, batch: train_step(
      state, teacher_variables, batch, parts=parts
    )
  )
  losses = []
  for images, labels in zip(stored['x'], stored['y']):
    batch = {
      'image': images.transpose(0, 2, 3, 1),
      'label': labels.astype(np.int32),
      'index': np.arange(len(labels), dtype=np.int32),
    }
    state, metrics = step(state, batch)
    losses.append([metrics[name] / weight for name, weight in columns])
  results = [
    compare(f'{prefix}.losses', losses, stored[f'{prefix}.losses'], _TOLERANCE)
  ]
  return results + _after(stored, prefix, student, state, parts)


def _classes(stored, prefix) -> int:
  return len(stored[f'{prefix}.final_fc_bias'])


def _variables(stored, prefix, role):
  name = str(stored[role])
  return weights.build(
    name,
    seed=int(stored[f'{role}_weights_seed']),
    running_mean=stored[f'{role}.running_mean'],
    running_var=stored[f'{role}.running_var'],
    num_classes=_classes(stored, prefix),
    image_shape=_image_shape(stored),
  )


def _image_shape(stored) -> tuple[int, ...]:
  _, _, channels, height, width = stored['x'].shape
  return height, width, channels


def _state(stored, prefix, parts) -> TrainState:
  variables = _variables(stored, prefix, 'student')
  method = _method_params(stored) if prefix == 'icd' else {}
  params = {'student': variables['params'], 'method': method}
  empty: Any = {'kd': {}, 'icd': {}} if prefix == 'icd' else {}
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    batch_stats=variables['batch_stats'],
    teacher_stats={},
    method_state=empty,
    opt_state=parts.optimizer.init(params),
    key=jax.random.key(0),
  )


def _method_params(stored):
  """Returns ICD's initial parameters of the file."""
  linear = {
    role: {
      leaf: stored[f'icd.embed_{role[0]}.{name}'].T
      for leaf, name in _LINEAR.items()
    }
    for role in ('student', 'teacher')
  }
  scalars = {
    'log_scale': stored['icd.params.tau'],
    'bias': stored['icd.params.b'],
  }
  icd = jax.tree.map(jnp.asarray, {**linear, **scalars})
  return {'kd': {}, 'icd': icd}


def _after(stored, prefix, student, state, parts) -> list[Comparison]:
  """Compares everything stored after the last step."""
  by_name = weights.by_torch_name(student, state.params['student'])
  norms = [
    np.linalg.norm(value.astype(np.float64)) for value in by_name.values()
  ]
  same_names = list(by_name) == stored[f'{prefix}.param_names'].tolist()
  images = stored['x'][0].transpose(0, 2, 3, 1)
  features, _ = parts.student.apply(
    state.student_variables, jnp.asarray(images), train=False
  )
  got = {
    'final_param_norms': np.asarray(norms),
    'final_fc_weight': by_name['fc.weight'],
    'final_fc_bias': by_name['fc.bias'],
    'final_conv1': by_name['conv1.weight'],
    'final_eval_logits': features.logits,
    **{
      f'final_{name}': weights.concatenated(student, state.batch_stats, name)
      for name in ('running_mean', 'running_var')
    },
  }
  if prefix == 'icd':
    got |= _icd_after(state.params['method']['icd'])
  results = [
    compare(
      f'{prefix}.{name}',
      value,
      stored[f'{prefix}.{name}'],
      _TOLERANCE,
      scale=_SCALES.get(name),
    )
    for name, value in got.items()
  ]
  names_error = 0.0 if same_names else np.inf
  return [*results, Comparison(f'{prefix}.param_names', names_error, 0.0)]


def _icd_after(params) -> dict[str, np.ndarray]:
  got = {
    f'final.embed_{role[0]}.{name}': np.asarray(params[role][leaf]).T
    for role in ('student', 'teacher')
    for leaf, name in _LINEAR.items()
  }
  got['final.params.tau'] = params['log_scale']
  got['final.params.b'] = params['bias']
  return got
