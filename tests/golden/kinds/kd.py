"""`kd`: Hinton's divergence and its gradient."""

import pathlib

import jax

from kdjax import losses
from tests.golden.comparison import Comparison, Stored, compare, not_compared


def check(path: pathlib.Path) -> list[Comparison]:
  """Compares every stored result of one file."""
  stored = Stored.read(path)

  def loss(student_logits):
    return losses.soft_target_kl(
      student_logits, stored['logits_t'], temperature=float(stored['T'])
    ).mean()

  value, gradient = jax.value_and_grad(loss)(stored['logits_s'])
  results = [
    compare('loss', value, stored['loss'], 1e-5),
    compare('grad_logits_s', gradient, stored['grad_logits_s'], 1e-5),
  ]
  inputs = ('logits_s', 'logits_t', 'T')
  return results + not_compared(stored, results, inputs)
