"""`fcfd`: several optimizer steps with given paths."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.tasks import SingleLabel
from kdjax.train import Parts, Recipe, TrainState, train_step
from kdjax.train.forward import evaluation_pass
from tests.golden.comparison import Comparison, Stored, compare, not_compared
from tests.golden.kinds.fcfd_steps import INPUTS, Case, all_terms, terms_of

_EXACT = 1e-6
_PER_EPOCH = 100  # more than the number of steps: all are in one epoch


def trajectory(stored: Stored) -> list[Comparison]:
  """Compares losses before each update and norms after it."""
  case = Case(stored, 'step0/images')
  state = _start(case)
  start = _parameters(case, state)
  results = [_order(stored, 'param_names', start)]
  terms = jax.jit(functools.partial(all_terms, case))
  prefix = ''
  for number, combo in enumerate(map(str, stored['meta/steps'])):
    prefix = f'step{number}/'
    before = terms(_arrays(case, state, prefix))
    results += _losses(case, before, prefix, combo)
    step = functools.partial(train_step, parts=_parts(case, combo))
    state, metrics = jax.jit(step)(
      state, case.teacher_variables, case.batch(prefix)
    )
    got = {'loss/total': metrics['loss'], **_norms(case, state, start)}
    results += [
      compare(f'{prefix}{name}', value, stored[f'{prefix}{name}'], _EXACT)
      for name, value in got.items()
    ]
  results.append(_order(stored, 'buffer_names', _buffers(case, state)))
  results += _final(case, state, prefix)
  inputs = [
    f'step{n}/{name}' for n in range(9) for name in ('images', 'labels')
  ]
  return results + not_compared(stored, results, (*INPUTS, *inputs))


def _parts(case: Case, combo: str) -> Parts:
  stored = case.stored
  recipe = Recipe(
    learning_rate=float(stored['meta/lr']),
    momentum=float(stored['meta/momentum']),
    nesterov=True,
    weight_decay=float(stored['meta/weight_decay']),
    decay_at=(),
  )
  method = case.method(combo)
  return Parts(
    student=case.student,
    teacher=case.teacher,
    method=method,
    task=SingleLabel(),
    augment=lambda key, batch: batch,
    optimizer=recipe.optimizer(_PER_EPOCH, case.student, method),
    steps_per_epoch=_PER_EPOCH,
  )


def _start(case: Case) -> TrainState:
  """Returns the file's state at the first step of its epoch."""
  parts = _parts(case, 'none')
  params: Any = {
    'student': case.student_variables['params'],
    'method': case.bridges['params'],
  }
  return TrainState(
    step=jnp.int32(_PER_EPOCH * int(case.stored['meta/epoch'])),
    params=params,
    batch_stats=case.student_variables['batch_stats'],
    teacher_stats=case.teacher_variables['batch_stats'],
    method_state=case.bridges['state'],
    opt_state=parts.optimizer.init(params),
    key=jax.random.key(0),
  )


def _losses(case, terms, prefix, combo) -> list[Comparison]:
  """Compares the terms before the update."""
  stored = case.stored
  return [
    compare(
      f'{prefix}loss/{name}', value, stored[f'{prefix}loss/{name}'], _EXACT
    )
    for name, value in terms_of(terms, combo.split('+')).items()
  ]


def _arrays(case: Case, state: TrainState, prefix: str):
  return {
    'student': state.student_variables,
    'teacher': {**case.teacher_variables, 'batch_stats': state.teacher_stats},
    'bridges': state.method_variables,
    'batch': case.batch(prefix),
  }


def _parameters(case: Case, state: TrainState) -> dict[str, np.ndarray]:
  return case.named(state.params['student'], state.params['method'])


def _buffers(case: Case, state: TrainState) -> dict[str, np.ndarray]:
  return case.buffers(
    state.teacher_stats, state.batch_stats, state.method_state
  )


def _norms(case: Case, state: TrainState, start) -> dict[str, np.ndarray]:
  stored = case.stored
  now, buffers = _parameters(case, state), _buffers(case, state)
  names, buffer_names = stored['param_names'], stored['buffer_names']
  return {
    'param_norms': _norm([now[name] for name in names]),
    'param_delta_norms': _norm([now[name] - start[name] for name in names]),
    'buffer_norms': _norm([buffers[name] for name in buffer_names]),
  }


def _norm(arrays) -> np.ndarray:
  return np.asarray([np.linalg.norm(array) for array in arrays])


def _order(stored: Stored, key: str, arrays) -> Comparison:
  """Compares the stored names with ours."""
  same = set(stored[key].tolist()) == set(arrays)
  return Comparison(key, 0.0 if same else np.inf, 0.0)


def _final(case: Case, state: TrainState, prefix: str) -> list[Comparison]:
  """Compares both networks in evaluation mode, with updated statistics."""
  images = case.batch(prefix)['image']
  teacher = {**case.teacher_variables, 'batch_stats': state.teacher_stats}
  results = []
  for name, network, variables in (
    ('t', case.teacher, teacher),
    ('s', case.student, state.student_variables),
  ):
    key = f'final/eval_logits_{name}'
    logits = evaluation_pass(network, variables, images).features.logits
    results.append(compare(key, logits, case.stored[key], _EXACT))
  return results
