"""`icd`: the method's loss, its two terms and all gradients of each case."""

import functools
import pathlib
import types

import jax
import jax.numpy as jnp
import numpy as np

from kdjax import losses
from kdjax.methods import Icd
from tests.golden.comparison import Comparison, Stored, compare, not_compared
from tests.methods import support

_MAX_SCALE = 10.0  # as in the golden files' README
# Tolerances: the stored values were computed in float32.
_VALUE, _GRADIENT = 1e-6, 5e-6
# Stored names by parameter group and leaf.
_NAMES = {
  ('embedding', None): 'f_s',
  ('student', 'kernel'): 'embed_s.weight',
  ('student', 'bias'): 'embed_s.bias',
  ('teacher', 'kernel'): 'embed_t.weight',
  ('teacher', 'bias'): 'embed_t.bias',
  ('log_scale', None): 'tau_param',
  ('bias', None): 'b_param',
}


def check(path: pathlib.Path) -> list[Comparison]:
  """Compares every stored result of one file."""
  stored = Stored.read(path)
  suffix = '.f_s'
  found = []
  for key in stored:
    if key.endswith(suffix):
      case = key.removesuffix(suffix)
      results = _case(_part(stored, case))
      found += [
        Comparison(f'{case}.{r.name}', r.error, r.tolerance) for r in results
      ]
  groups = {key.partition('.')[0] for key in stored}
  inputs = [f'{g}.{name}' for g in groups for name in _NAMES.values()]
  inputs += [f'{g}.{name}' for g in groups for name in ('f_t', 'alpha')]
  return found + not_compared(stored, found, tuple(inputs))


def _part(stored: Stored, case: str) -> Stored:
  """Returns the arrays of one case in the enabled precision."""
  dtype = jnp.result_type(float)
  return Stored(
    {
      key.removeprefix(case + '.'): value.astype(dtype)
      for key, value in stored.items()
      if key.startswith(case + '.')
    }
  )


def _case(stored: Stored) -> list[Comparison]:
  trained = 'grad_tau_param' in stored
  method = Icd(
    invariance_weight=float(stored['alpha']),
    max_scale=_MAX_SCALE,
    fixed_scale=None if trained else float(stored['tau_param']),
  )
  inputs = {}
  for (group, leaf), name in _NAMES.items():
    if group in ('log_scale', 'bias') and not trained:
      continue
    value = jnp.asarray(stored[name]).T
    if leaf is None:
      inputs[group] = stored[name]
    else:
      inputs.setdefault(group, {})[leaf] = value

  teacher = _pass(stored['f_t'])

  def loss(inputs):
    params = {k: v for k, v in inputs.items() if k != 'embedding'}
    variables = {'params': params, 'state': {}}
    student = _pass(inputs['embedding'])
    terms, _ = method.terms(variables, student, teacher, {}, support.context())
    return terms['icd']

  value, gradients = jax.jit(jax.value_and_grad(loss))(inputs)
  found = [compare('loss', value, stored['loss'], _VALUE)]
  for (group, leaf), name in _NAMES.items():
    if group in gradients:
      got = gradients[group] if leaf is None else gradients[group][leaf].T
      # The gradient of the bias is rounding, of the order of the logits.
      scale = 1.0 if name == 'b_param' else None
      want = stored[f'grad_{name}']
      found.append(compare(f'grad_{name}', got, want, _GRADIENT, scale=scale))
  return found + _values(method, inputs, stored)


def _values(method: Icd, inputs, stored: Stored) -> list[Comparison]:
  """Compares the parts of the loss."""

  @jax.jit
  def values(inputs, teacher):
    rows = {'student': inputs['embedding'], 'teacher': teacher}
    pair = [
      rows[role] @ inputs[role]['kernel'] + inputs[role]['bias']
      for role in rows
    ]
    shape = {'scale': method.scale(inputs), 'bias': inputs.get('bias', 0.0)}
    terms = functools.partial(losses.icd, *pair, **shape)
    contrastive = terms(invariance_weight=0.0).mean()
    return {
      'scale': shape['scale'],
      'logits': losses.icd_logits(*pair, **shape),
      'contrastive': contrastive,
      'invariance': terms(invariance_weight=1.0).mean() - contrastive,
    }

  got = values(inputs, stored['f_t'])
  # The invariance term is a small difference of logarithms of order 1.
  return [
    compare(
      name,
      value,
      stored[name],
      _VALUE,
      scale=max(1.0, float(np.max(np.abs(stored[name])))),
    )
    for name, value in got.items()
  ]


def _pass(embedding):
  return types.SimpleNamespace(
    features=types.SimpleNamespace(embedding=embedding)
  )
