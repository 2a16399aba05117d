"""`lshfm`: hash losses and gradients, biases, steps, detection, averages.

Each file has its results in two precisions. As in the golden files' README, the
tolerance of float64 results is 1e-10, and they are compared only if float64 is
enabled; that of float32 results is 2e-5. Where no sample is kept, the published
code gives NaN; the expected value is 0.
"""

import functools
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from kdjax import losses
from kdjax.methods.lshfm_bias import classifier_std, fit_bias
from kdjax.methods.lshfm_losses import masked_mean
from kdjax.train.averaging import epoch_weights
from tests.golden.comparison import Comparison, Stored, compare, not_compared
from tests.golden.kinds import lshfm_retina, lshfm_train, multilabel_metrics

Results = dict[str, jax.Array]


def check(path: pathlib.Path) -> list[Comparison]:
  """Compares every stored result of one file."""
  with np.load(path) as file:
    keys = set(file.files)
  for key, made in _FILES.items():
    if key in keys:
      return made(path)
  raise ValueError(f'no file of lshfm has the arrays {", ".join(sorted(keys))}')


def precisions() -> dict[str, type]:
  """Returns the dtypes that can be compared, by prefix of the results."""
  exact = jnp.result_type(float) == jnp.float64
  return {'f32_': np.float32} | ({'f64_': np.float64} if exact else {})


def _file(
  answers: Callable[[Stored, Callable], Results], *inputs: str
) -> Callable[[pathlib.Path], list[Comparison]]:
  """Returns a check of files whose results are functions of their arrays."""

  def check(path: pathlib.Path) -> list[Comparison]:
    stored = Stored.read(path)
    results = []
    for prefix, dtype in precisions().items():
      cast = functools.partial(_in_precision, stored, dtype)
      for name, got in answers(stored, cast).items():
        results.append(_compare(prefix, name, got, stored))
    skipped = {'f32_', 'f64_'} - set(precisions())
    rest = {k: v for k, v in stored.items() if k[:4] not in skipped}
    return results + not_compared(rest, results, inputs)

  return check


def _in_precision(stored, dtype, *names) -> list[jax.Array]:
  return [jnp.asarray(stored[name], dtype) for name in names]


def _compare(prefix, name, got, stored) -> Comparison:
  key = prefix + name
  want = stored[key]
  if want.dtype == bool:
    return Comparison(key, float(np.sum(np.asarray(got) != want)), 0.0)
  tolerance = 1e-10 if prefix == 'f64_' else 2e-5
  if name.startswith(('loss', 'grad')) and np.isnan(want).all():
    want = np.zeros_like(want)
  # The distance to zero is a small difference of hashes of order 1.
  scale = 1.0 if name == 'min_abs_hash_t' else None
  return compare(key, got, want, tolerance, scale=scale)


def _with_gradients(made: Callable, student, *rest) -> Results:
  """Computes all losses of `made(*rest)` with gradients, jitted as one."""

  @jax.jit
  def run(student, *rest):
    return {
      name: jax.value_and_grad(loss)(student)
      for name, loss in made(*rest).items()
    }

  results = {}
  for name, (value, gradient) in run(student, *rest).items():
    results |= {f'loss_{name}': value, f'grad_{name}': gradient}
  return results


def _module(kernel, bias, teacher) -> dict[str, Callable]:
  """Returns the losses by their names in the files."""

  def by_hash(loss):
    return lambda student: loss(student, teacher, kernel.T, bias).mean()

  def by_feature(loss):
    return lambda student: loss(student, teacher).mean()

  results = {
    'lsh': by_hash(losses.lsh),
    'hashL1': by_hash(losses.lsh_absolute),
    'hashL2': by_hash(losses.lsh_squared),
    'l1': by_feature(losses.mean_absolute_error),
    'l2': by_feature(losses.mean_squared_error),
    'l2norm': by_feature(losses.direction_squared_error),
  }
  sums = {'lshl2': ('lsh', 'l2'), 'hashL1_l2': ('hashL1', 'l2')}
  for name, (one, other) in sums.items():
    results[name] = lambda x, a=results[one], b=results[other]: a(x) + b(x)
  return results


def _loss(stored, cast) -> Results:
  kernel, bias, student, teacher = cast('W', 'b', 'f_s', 'f_t')
  of_teacher = losses.hash_values(teacher, kernel.T, bias)
  results = {
    'hash_s': losses.hash_values(student, kernel.T, bias),
    'code_t': of_teacher > 0,
    'min_abs_hash_t': jnp.abs(of_teacher).min(),
    **_with_gradients(_module, student, kernel, bias, teacher),
  }
  return {name: x for name, x in results.items() if f'f32_{name}' in stored}


def _correct_only(stored, cast) -> Results:
  kernel, bias, student, teacher = cast('W', 'b', 'f_s', 'f_t')
  kept = jnp.argmax(stored['logit_t'], axis=1) == stored['label']

  def module(kernel, bias, teacher, kept):
    def bits(x):
      return losses.lsh(x, teacher, kernel.T, bias)

    def both(x):
      return bits(x) + losses.mean_squared_error(x, teacher)

    return {
      'lsh_s': lambda x: masked_mean(bits(x), kept),
      'lshl2_s': lambda x: masked_mean(both(x), kept),
    }

  return _with_gradients(module, student, kernel, bias, teacher, kept)


def _bias(stored, cast) -> Results:
  kernel, pool, weight = map(np.asarray, cast('W', 'pool', 'teacher_fc_weight'))
  kept = stored.get('kept', np.ones(len(pool), bool))
  seen = {'': (pool, 0), '_drop': (pool[kept], int(np.sum(~kept)))}
  results = {'teacher_fc_std': classifier_std(weight.T)}
  for kind in ('median', 'mean'):
    for suffix, (rows, unseen) in seen.items():
      name = f'b_{kind}{suffix}'
      if f'f32_{name}' in stored:
        # A small memory limit, so that the hashes are computed in chunks.
        results[name] = fit_bias(
          kernel.T, lambda x=rows: [x], kind, memory=10**5, unseen=unseen
        )
  return results


def _roi(stored, cast) -> Results:
  kernel, bias, student, teacher = cast('W', 'b', 'f_s', 'f_t')
  beta = float(stored['beta'])

  def module(kernel, bias, teacher):
    of_rows = _module(kernel, bias, teacher.reshape(len(teacher), -1))
    return {
      name: lambda x, loss=of_rows[name]: beta * loss(x.reshape(len(x), -1))
      for name in ('lsh', 'lshl2', 'l2')
    }

  return _with_gradients(module, student, kernel, bias, teacher)


def _average(path: pathlib.Path) -> list[Comparison]:
  stored = Stored.read(path)
  theta = stored['theta'].astype(np.float64)
  results = []
  for key, form in (
    ('average_true', 'mean'),
    ('average_as_published', 'as_published'),
  ):
    factors = np.array(epoch_weights(len(theta), form))
    got = np.tensordot(factors, theta, 1) / len(theta)
    # The published code computes in float32.
    tolerance = 1e-12 if stored[key].dtype == np.float64 else 1e-6
    results.append(compare(key, got, stored[key], tolerance))
  return results + not_compared(stored, results, ('theta',))


_PAIR = ('W', 'b', 'f_s', 'f_t')
# Checks by a key that identifies the type of file; the first match decides.
_FILES: dict[str, Callable[[pathlib.Path], list[Comparison]]] = {
  'theta': _average,
  'target_voc': multilabel_metrics.check,
  'feat_fc_weight': lshfm_train.check,
  'cls_kernel': _file(
    lshfm_retina.results,
    *('W', 'b', 'beta', 'cls_kernel', 'cls_bias', 'matched_idx', 'mask'),
    *('empty_image', *(f'map_{n}{i}' for n in 'st' for i in range(10))),
  ),
  'teacher_fc_weight': _file(_bias, 'W', 'pool', 'kept', 'teacher_fc_weight'),
  'logit_t': _file(_correct_only, *_PAIR, 'logit_t', 'label'),
  'beta': _file(_roi, *_PAIR, 'beta'),
  'f_s': _file(_loss, *_PAIR, 'pool'),
}
