"""Results of kdjax for the keys of a `kd2m` golden file.

Each function has the inputs and `wanted` as arguments, a predicate whether the
file has keys with a prefix, and returns results by the file's keys.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from kdjax import losses

Array = jax.Array
Wanted = Callable[[str], bool]

# The stored Sinkhorn results are converged; training needs fewer iterations.
_SINKHORN = {'iterations': 2000, 'tolerance': 1e-12, 'newton_steps': 200}

_SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)

_DISTANCES: dict[str, Callable[[Array, Array], Array]] = {
  'mmd/linear': losses.mmd_linear,
  'mmd/rbf_mean': losses.mmd_rbf,
  'mmd/rbf_fixed': lambda x, y: losses.mmd_rbf(
    x, y, bandwidth=x.shape[1] ** 0.5
  ),
  'mmd/rbf_fixed_unbiased': lambda x, y: losses.mmd_rbf(
    x, y, bandwidth=x.shape[1] ** 0.5, unbiased=True
  ),
  'mmd/rbf_multi': lambda x, y: losses.mmd_rbf(x, y, scales=_SCALES),
  'mmd/poly2_unitnorm': losses.mmd_cosine,
  'w2/empirical': losses.wasserstein2,
  'gauss/w2_diag': losses.gaussian_wasserstein2,
  'gauss/w2_full': losses.gaussian_wasserstein2_full,
  'gauss/w2_full_ridge': lambda x, y: losses.gaussian_wasserstein2_full(
    x, y, ridge=1e-3
  ),
  'gauss/kl_diag_ridge_st': losses.gaussian_kl,
  'gauss/kl_diag_ridge_ts': lambda x, y: losses.gaussian_kl(y, x),
  'gauss/jeffreys_diag_ridge': losses.gaussian_jeffreys,
  'gauss/kl_diag_st': lambda x, y: losses.gaussian_kl(x, y, ridge=0.0),
  'gauss/kl_diag_ts': lambda x, y: losses.gaussian_kl(y, x, ridge=0.0),
  'gauss/kl_full_ridge_st': losses.gaussian_kl_full,
  'gauss/kl_full_ridge_ts': lambda x, y: losses.gaussian_kl_full(y, x),
  'gauss/jeffreys_full_ridge': losses.gaussian_jeffreys_full,
  'gauss/kl_full_st': lambda x, y: losses.gaussian_kl_full(x, y, ridge=0.0),
  'paired_mse': losses.paired_distance,
}

_PER_CLASS = {
  'w2_empirical': losses.wasserstein2,
  'gauss_w2_diag': losses.gaussian_wasserstein2,
  'gauss_w2_full': losses.gaussian_wasserstein2_full,
  'mmd_linear': losses.mmd_linear,
  'mmd_rbf_mean': losses.mmd_rbf,
  'gauss_kl_diag_ridge_st': losses.gaussian_kl,
}


@struct.dataclass
class Batch:
  """The inputs of a file, in the enabled float precision."""

  student: Array
  teacher: Array
  labels: Any  # labels and logits are None in files with features only
  student_logits: Any
  teacher_logits: Any
  classes: int = struct.field(pytree_node=False)

  @classmethod
  def of(cls, stored: Mapping[str, np.ndarray]) -> 'Batch':
    """Reads the inputs of a file; without labels it has features only."""

    names = ('in/labels', 'in/logits_s', 'in/logits_t')
    has_labels = any(name in stored for name in names)

    def read(key, dtype):
      return jnp.asarray(stored[key], dtype) if has_labels else None

    real = jnp.result_type(float)
    return cls(
      student=jnp.asarray(stored['in/xs'], real),
      teacher=jnp.asarray(stored['in/xt'], real),
      labels=read('in/labels', jnp.int32),
      student_logits=read('in/logits_s', real),
      teacher_logits=read('in/logits_t', real),
      classes=int(stored['in/n_classes']) if has_labels else 0,
    )

  @property
  def pair(self) -> tuple[Array, Array]:
    """Both batches of features."""
    return self.student, self.teacher


def distances(batch: Batch, wanted: Wanted) -> dict[str, Array]:
  """Computes the distances between two batches of features with gradients."""
  answers = {'mmd/rbf_mean/sigma': losses.mean_distance(*batch.pair)}
  for key, distance in _DISTANCES.items():
    if not wanted(key):
      continue
    value, grad = jax.value_and_grad(distance)(*batch.pair)
    for prefix in ('', 'official_f64/', 'official_f32/'):
      answers |= _named(prefix + key, value=value, grad=grad)
  if len(batch.student) == len(batch.teacher):
    answers['w2/empirical/perm'] = _optimal_columns(feature_cost(*batch.pair))
  return answers


def sinkhorn(batch: Batch, wanted: Wanted) -> dict[str, Array]:
  """Solves the entropic problem for each epsilon of the file."""
  answers = {}
  for epsilon in ('0.01', '0.1', '1.0'):
    if wanted(f'sinkhorn/{epsilon}'):
      # Jitted separately: one program computes all three.
      results = _sinkhorn(batch.student, batch.teacher, float(epsilon))
      answers |= _named(f'sinkhorn/{epsilon}', **results)
  return answers


@jax.jit
def _sinkhorn(x: Array, y: Array, epsilon: Array) -> dict[str, Array]:
  absolute = epsilon * jnp.mean(feature_cost(x, y))

  def value_and_grad(distance):
    return jax.value_and_grad(
      lambda x: distance(x, y, epsilon=epsilon, **_SINKHORN)
    )(x)

  def own(z):
    relative = absolute / jnp.mean(feature_cost(z, z))
    return losses.sinkhorn_regularized(z, z, epsilon=relative, **_SINKHORN)

  reg, planfixed = value_and_grad(losses.sinkhorn_regularized)
  cost, total = value_and_grad(losses.sinkhorn_cost)
  div, div_grad = value_and_grad(losses.sinkhorn_divergence)
  return {
    'eps': absolute,
    'reg': reg,
    'dual': reg,
    'grad_planfixed': planfixed,
    'cost': cost,
    'cost_grad_total': total,
    'div': div,
    'div_grad': div_grad,
    'reg_xx': own(x),
    'reg_yy': own(y),
  }


def sinkhorn_slope(
  batch: Batch, epsilon: float, direction: np.ndarray
) -> float:
  """The slope of the entropic cost along a direction, in float64.

  Epsilon is fixed, as it is in the gradient.

  Args:
    batch: The inputs.
    epsilon: Fraction of the mean squared distance.
    direction: Change of the student's features, `[n, d]`.
  """
  length = 1e-5
  absolute = epsilon * jnp.mean(feature_cost(*batch.pair))

  def cost(step: float) -> float:
    moved = batch.student + step * jnp.asarray(direction, batch.student.dtype)
    relative = absolute / jnp.mean(feature_cost(moved, batch.teacher))
    return float(_sinkhorn(moved, batch.teacher, relative)['cost'])

  return (cost(length) - cost(-length)) / (2 * length)


def conditional(batch: Batch, wanted: Wanted) -> dict[str, Array]:
  """Computes the class-conditional forms, per class and aggregated."""
  counts = jnp.bincount(batch.labels, length=batch.classes)
  answers = {'cond/class_counts': counts}
  for name, distance in _PER_CLASS.items():
    key = f'cond/{name}'
    if not wanted(key):
      continue
    per_class = functools.partial(losses.per_class, distance)
    arguments = (*batch.pair, batch.labels, batch.classes)
    by_class = per_class(*arguments, aggregation=None)
    # A class without samples is NaN in the files and 0 in kdjax.
    answers[f'{key}/per_class'] = jnp.where(counts > 0, by_class, jnp.nan)
    for aggregation in losses.AGGREGATIONS:
      value, grad = jax.value_and_grad(per_class)(
        *arguments, aggregation=aggregation
      )
      answers[f'{key}/{aggregation}'] = value
      answers |= _named(key, **{f'grad_{aggregation}': grad})
  return answers


def joint(batch: Batch, wanted: Wanted) -> dict[str, Array]:
  """Computes the joint distances of features and predictions."""
  answers = {}
  largest = jnp.max(feature_cost(*batch.pair))
  betas = {'beta_1': (1.0, jnp.ones(())), 'beta_max': ('max', largest)}
  for name in losses.LABEL_COSTS:
    for label, (setting, number) in betas.items():
      key = f'joint/{name}/{label}'
      if wanted(key):
        answers |= _joint(batch, key, name, beta=setting)
        answers[f'{key}/beta'] = number
        answers[f'{key}/perm'] = _optimal_columns(joint_cost(batch, key))
  if wanted('joint/normalised_sqlogit'):
    answers |= _joint(
      batch, 'joint/normalised_sqlogit', 'sqlogit', normalize=True
    )
  return answers


def _joint(batch: Batch, key: str, name: str, **settings) -> dict[str, Array]:
  """Computes one joint distance and its two gradients."""

  def distance(features, logits):
    label_cost = losses.LABEL_COSTS[name](
      logits, batch.teacher_logits, batch.labels
    )
    return losses.joint_wasserstein2(
      features, batch.teacher, label_cost, **settings
    )

  value, (grad, grad_logits) = jax.value_and_grad(distance, argnums=(0, 1))(
    batch.student, batch.student_logits
  )
  return _named(key, value=value, grad=grad, grad_logits=grad_logits)


def logits(batch: Batch, wanted: Wanted) -> dict[str, Array]:
  """Computes the soft-target divergence in both directions."""

  def loss(student, direction, temperature):
    pair = (student, batch.teacher_logits)
    if direction == 'student_teacher':
      pair = pair[::-1]
    return losses.soft_target_kl(*pair, temperature=temperature).mean()

  answers = {}
  for temperature in (1, 4):
    for direction in ('teacher_student', 'student_teacher'):
      key = f'logit_kd/kl_{direction}_T{temperature}'
      if wanted(key):
        value, grad = jax.value_and_grad(loss)(
          batch.student_logits, direction, temperature
        )
        answers |= _named(key, value=value, grad=grad)
  return answers


def as_shipped(batch: Batch, wanted: Wanted) -> dict[str, Array]:
  """Computes what the paper's code computes where it departs from the paper.

  These functions are not part of kdjax, as they are unsuitable for training.
  """
  answers = {}
  for precision in ('official_f64', 'official_f32'):
    key = f'{precision}/gauss/kl_diag_st'
    if wanted(key):
      value, grad = jax.value_and_grad(_shipped_kl)(*batch.pair)
      answers |= _named(key, value=value, grad=grad)
  for name, label_cost in (('sqeuclidean', 'sqlogit'), ('cce', 'kl_st')):
    key = f'official_f64/joint_as_shipped_{name}'
    if wanted(key):
      value, grad = jax.value_and_grad(_shipped_joint)(
        batch.student_logits, batch, label_cost
      )
      answers |= _named(key, value=value, grad_logits=grad)
  return answers


def _shipped_joint(logits: Array, batch: Batch, label_cost: str) -> Array:
  """Student-student feature cost over its maximum, without gradient."""
  cost = feature_cost(batch.student, batch.student)
  labels = losses.LABEL_COSTS[label_cost](
    logits, batch.teacher_logits, batch.labels
  )
  total = cost / jnp.max(cost) + labels
  columns = _optimal_columns(total)
  return jnp.mean(jnp.take_along_axis(total, columns[:, None], axis=1))


def _shipped_kl(x: Array, y: Array) -> Array:
  """KL with 1e-9 in the denominators only: -inf for a constant feature."""
  (mean_x, s_x), (mean_y, s_y) = (
    (jnp.mean(z, axis=0), _std(z)) for z in (x, y)
  )
  ratio = (s_x / (s_y + 1e-9)) ** 2
  means = ((mean_x - mean_y) / (s_y + 1e-9)) ** 2
  logs = 2 * jnp.log(s_y / (s_x + 1e-9))
  return (jnp.sum(ratio) + jnp.sum(means) - len(mean_x) + jnp.sum(logs)) / 2


def _std(x: Array) -> Array:
  """Computes the standard deviation; where it is zero its gradient is zero."""
  variance = jnp.var(x, axis=0)
  positive = variance > 0
  return jnp.where(positive, jnp.sqrt(jnp.where(positive, variance, 1)), 0)


def feature_cost(x: Array, y: Array) -> Array:
  """Computes the squared distances of all pairs."""
  return jnp.sum((x[:, None] - y) ** 2, axis=-1)


def joint_cost(batch: Batch, key: str) -> Array:
  """Computes the cost whose best permutation is stored under `key/perm`."""
  cost = feature_cost(*batch.pair)
  if key.startswith('w2/'):
    return cost
  _, name, beta = key.split('/')[:3]
  label_cost = losses.LABEL_COSTS[name](
    batch.student_logits, batch.teacher_logits, batch.labels
  )
  return cost + (jnp.max(cost) if beta == 'beta_max' else 1.0) * label_cost


def _optimal_columns(cost: Array) -> Array:
  return losses.exact_assignment(cost).columns


def _named(key: str, **results: Array) -> dict[str, Array]:
  """Returns results by key, and the norm of each gradient."""
  named = {f'{key}/{name}': result for name, result in results.items()}
  norms = {
    f'{key}/{name}_norm': jnp.linalg.norm(result)
    for name, result in results.items()
    if 'grad' in name
  }
  return named | norms
