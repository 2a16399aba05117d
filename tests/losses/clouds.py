"""Batches of embeddings for tests, ordinary and degenerate."""

import jax
import jax.numpy as jnp
import numpy as np

KINDS = ('gaussian', 'relu', 'clustered', 'dead', 'constant')


def make(
  seed: int, n: int, d: int, *, kind: str = 'gaussian', classes: int = 3
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Draws student and teacher, float32 `[n, d]` of the same images, and labels.

  Args:
    seed: Seed of all random numbers.
    n: Number of samples.
    d: Width, 3 or more for the last two kinds.
    kind: `relu` cuts at zero; `clustered` has class centers as well; `dead`
      has a column that is zero in both, one only in the student and one only
      in the teacher; `constant` one column that is 1/3 everywhere.
    classes: Number of classes; some may be absent.
  """
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, classes, n)
  centers = 2 * rng.normal(size=(classes, d))
  images = rng.normal(size=(n, d))
  if kind != 'gaussian':
    images = images + centers[labels]
  student, teacher = (
    images + rng.uniform(0.2, 1.5) * rng.normal(size=(n, d)) + shift
    for shift in rng.normal(size=(2, 1, d))
  )
  if kind != 'gaussian':
    student, teacher = np.maximum(student, 0), np.maximum(teacher, 0)
  if kind == 'dead':
    student[:, :2] = 0
    teacher[:, [0, 2]] = 0
  if kind == 'constant':
    student[:, 0] = teacher[:, 0] = 1 / 3
  return (
    jnp.asarray(student, jnp.float32),
    jnp.asarray(teacher, jnp.float32),
    jnp.asarray(labels, jnp.int32),
  )


def largest_term(*clouds: jax.Array) -> float:
  """Returns the mean squared distance from the joint mean, at least 1.

  Rounding errors of squared distances are relative to it.
  """
  rows = np.concatenate([np.asarray(cloud, np.float64) for cloud in clouds])
  return float(max(1.0, ((rows - rows.mean(0)) ** 2).sum(1).mean()))
