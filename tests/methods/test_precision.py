"""No method computes in bfloat16 if its features are bfloat16.

FCFD is not tested here, because it evaluates the networks, which may compute in
bfloat16. Its losses are tested in `tests/losses/test_precision.py`, and a step
in bfloat16 in tests/train.
"""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from kdjax import methods
from kdjax.features import LinearClassifier
from kdjax.methods import Kd, Kd2m, Lshfm, Ssim
from kdjax.methods.kd2m_metrics import METRICS
from tests.arithmetic import as_bfloat16, narrow
from tests.methods import support

WIDTH = 7
CASES = {
  'kd': Kd(),
  'icd': methods.create('icd'),
  **{f'kd2m {name}': Kd2m(metric=name) for name in METRICS},
  **{
    f'lshfm {loss} {kind}': Lshfm(loss=loss, hash_loss=kind, hashes=5)
    for loss, kind in (('lshl2', 'bce'), ('lsh', 'l1'), ('l1', 'bce'))
  },
  **{f'ssim {name}': Ssim(compare=name) for name in ('ssim', 'l1', 'l2')},
}


def _features(seed):
  """Returns features of a network that computes in bfloat16."""
  plain = support.features(WIDTH, seed)
  maps = jax.random.normal(jax.random.key(seed), (support.BATCH, 8, 8, 3))
  stages = (maps, maps[:, ::2, ::2])
  return as_bfloat16(
    dataclasses.replace(plain, stages=stages, pre_stages=stages)
  )


def _spec(name):
  shapes = LinearClassifier(
    jax.ShapeDtypeStruct((WIDTH, support.CLASSES), jnp.float32),
    jax.ShapeDtypeStruct((support.CLASSES,), jnp.float32),
  )
  return dataclasses.replace(
    support.spec(WIDTH, name),
    features=jax.eval_shape(lambda: _features(0)),
    classifier=shapes,
  )


@pytest.mark.parametrize('name', CASES)
def test_no_method_computes_in_bfloat16(name):
  method = CASES[name]
  variables = method.init(
    jax.random.key(4), _spec('student'), _spec('teacher'), support.DATA
  )
  batch = {
    'label': jnp.arange(support.BATCH) % support.CLASSES,
    'index': jnp.arange(support.BATCH),
  }
  teacher = dataclasses.replace(
    support.make_pass(WIDTH, 2), features=_features(2)
  )

  def total(features, params):
    own = {**variables, 'params': params}
    student = dataclasses.replace(
      support.make_pass(WIDTH, 1), features=features
    )
    student, _ = method.predicting(own, student, teacher)
    terms, _ = method.terms(own, student, teacher, batch, support.context())
    return sum(terms.values())

  slope = jax.value_and_grad(total, argnums=(0, 1))
  arguments = _features(1), variables['params']
  assert narrow(slope, *arguments) == set()
  value, (_, params) = jax.eval_shape(slope, *arguments)
  for leaf in jax.tree.leaves((value, params)):
    assert leaf.dtype == jnp.float32


def test_every_method_is_listed():
  covered = {type(method) for method in CASES.values()}
  elsewhere = {methods.Fcfd, methods.Supervised}
  assert covered | elsewhere == set(methods.METHODS.values())
