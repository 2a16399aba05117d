"""Passes and network specifications for tests of methods."""

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.features import Features, NetworkSpec
from kdjax.methods import Context, Method, Pass, TrainSpec

BATCH, CLASSES = 6, 4
DATA = TrainSpec(
  num_images=12, labels=np.arange(12) % CLASSES, num_classes=CLASSES
)


def features(width: int, seed: int) -> Features:
  keys = jax.random.split(jax.random.key(seed))
  embedding = jax.random.normal(keys[0], (BATCH, width))
  logits = 2 * jax.random.normal(keys[1], (BATCH, CLASSES))
  return Features((), (), (), embedding, logits)


def spec(width: int, name: str = 'network') -> NetworkSpec:
  shapes = jax.eval_shape(lambda: features(width, 0))
  return NetworkSpec(
    name=name, boundary='post_relu', features=shapes, variables={}
  )


def make_pass(width: int, seed: int) -> Pass:
  def tail(variables, hidden, start):
    raise AssertionError('this method enters no network')

  def head(variables, embedding):
    raise AssertionError('this method classifies nothing')

  return Pass(features(width, seed), {}, tail, head)


def context(epoch: float = 0) -> Context:
  return Context(
    step=jnp.int32(0), epoch=jnp.float32(epoch), key=jax.random.key(3)
  )


def terms(
  method: Method, student: int = 5, teacher: int = 7, variables=None
) -> dict[str, jax.Array]:
  """Computes the terms of a method on embeddings of the given widths."""
  if variables is None:
    key = jax.random.key(4)
    variables = method.init(key, spec(student), spec(teacher), DATA)
  got, _ = method.terms(
    variables, make_pass(student, 1), make_pass(teacher, 2), {}, context()
  )
  return got
