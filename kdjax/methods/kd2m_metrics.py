"""The distances of KD²M by name, each a function of settings and a batch."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from kdjax import losses
from kdjax.methods.groups import grouped

Array = jax.Array


@struct.dataclass
class Clouds:
  """What a metric may look at: two batches of features, and their classes.

  Attributes:
    student: Embeddings, `[n, d]`, in the teacher's width.
    teacher: Embeddings, `[n, d]`.
    student_logits: `[n, K]`.
    teacher_logits: `[n, K']`.
    labels: The true classes, int32 `[n]`.
  """

  student: Array
  teacher: Array
  student_logits: Array
  teacher_logits: Array
  labels: Array


# The settings are a `Kd2m`, which this module must not import.
Metric = Callable[[Any, Clouds], Array]


def _plain(distance: Callable[..., Array], **fixed) -> Metric:
  """A metric of the features alone."""
  return lambda settings, clouds: distance(
    clouds.student, clouds.teacher, **fixed
  )


def _ridged(distance: Callable[..., Array], flipped: bool = False) -> Metric:
  """A divergence with the settings' ridge; flipped, of teacher || student."""

  def metric(settings, clouds):
    pair = (clouds.student, clouds.teacher)
    return distance(
      *(pair[::-1] if flipped else pair), ridge=_ridge(settings, clouds)
    )

  return metric


def _entropic(distance: Callable[..., Array]) -> Metric:
  """A metric with the settings' epsilon."""
  return lambda settings, clouds: distance(
    clouds.student, clouds.teacher, epsilon=settings.epsilon
  )


def _per_class(distance: Callable[..., Array], *names: str) -> Metric:
  """A metric between the samples of each class; `names`: settings it takes."""
  given = {'ridge': _ridge, 'assign': _assign}

  def metric(settings, clouds):
    if clouds.labels.ndim != 1:
      raise ValueError(
        f'{settings.metric} needs one class per image, labels [n]; got '
        f'{clouds.labels.shape}. Choose a metric that does not look at labels.'
      )
    chosen = {name: given[name](settings, clouds) for name in names}
    return losses.class_conditional(
      clouds.student,
      clouds.teacher,
      clouds.labels,
      distance=functools.partial(distance, **chosen),
      classes=clouds.student_logits.shape[-1],
      aggregation=settings.aggregation,
    )

  return metric


def _w2(settings, clouds: Clouds) -> Array:
  return losses.wasserstein2(
    clouds.student, clouds.teacher, assign=_assign(settings, clouds)
  )


def _jw2(settings, clouds: Clouds) -> Array:
  label_cost = losses.LABEL_COSTS[settings.label_cost](
    clouds.student_logits, clouds.teacher_logits, clouds.labels
  )
  return losses.joint_wasserstein2(
    clouds.student,
    clouds.teacher,
    label_cost,
    beta=settings.beta,
    assign=_assign(settings, clouds),
  )


def _assign(settings, clouds: Clouds) -> Callable:
  del clouds
  return SOLVERS[settings.solver]


def _ridge(settings, clouds: Clouds) -> Array | float:
  """The ridge in the units of a variance."""
  if not settings.relative_ridge:
    return settings.ridge
  width = clouds.teacher.shape[1]
  return settings.ridge * losses.total_variance(clouds.teacher) / width


SOLVERS = {
  'exact': losses.exact_assignment,
  'auction': losses.auction_assignment,
}

# Squared distances: of the square of a feature's unit.
SQUARED: dict[str, Metric] = {
  'paired': _plain(losses.paired_distance),
  'mmd_linear': _plain(losses.mmd_linear),
  'w2': _w2,
  'sinkhorn': _entropic(losses.sinkhorn_divergence),
  'sinkhorn_reg': _entropic(losses.sinkhorn_regularized),
  'w2_gauss': _plain(losses.gaussian_wasserstein2),
  'w2_gauss_full': _plain(losses.gaussian_wasserstein2_full),
  'cmmd_linear': _per_class(losses.mmd_linear_per_class),
  'cw2': _per_class(losses.wasserstein2_per_class, 'assign'),
  'cw2_gauss': _per_class(losses.gaussian_wasserstein2_per_class),
  'cw2_gauss_full': _per_class(losses.gaussian_wasserstein2_full_per_class),
  'jw2': _jw2,
}

# Numbers without a unit.
UNITLESS: dict[str, Metric] = {
  'mmd_rbf': _plain(losses.mmd_rbf),
  'mmd_rbf_multi': _plain(losses.mmd_rbf, scales=(0.25, 0.5, 1.0, 2.0, 4.0)),
  'mmd_cosine': _plain(losses.mmd_cosine),
  'cmmd_rbf': _per_class(losses.mmd_rbf_per_class),
  'cmmd_cosine': _per_class(losses.mmd_cosine_per_class),
  'kl_gauss': _ridged(losses.gaussian_kl),
  'kl_gauss_ts': _ridged(losses.gaussian_kl, flipped=True),
  'jeffreys_gauss': _ridged(losses.gaussian_jeffreys),
  'kl_gauss_full': _ridged(losses.gaussian_kl_full),
  'kl_gauss_full_ts': _ridged(losses.gaussian_kl_full, flipped=True),
  'jeffreys_gauss_full': _ridged(losses.gaussian_jeffreys_full),
  'ckl_gauss': _per_class(losses.gaussian_kl_per_class, 'ridge'),
  'ckl_gauss_full': _per_class(losses.gaussian_kl_full_per_class, 'ridge'),
  'cjeffreys_gauss': _per_class(losses.gaussian_jeffreys_per_class, 'ridge'),
  'cjeffreys_gauss_full': _per_class(
    losses.gaussian_jeffreys_full_per_class, 'ridge'
  ),
}

METRICS: dict[str, Metric] = {**SQUARED, **UNITLESS}

# Weights to begin with: of squared distances over the teacher's total variance
# (`scale=teacher_var`), and of the unitless ones as they are. Those of the
# paper's table and of `paired` are from a sweep, the others by likeness;
# see docs/kd2m.md.
WEIGHTS: dict[str, float] = {
  **dict.fromkeys(METRICS, 1.0),
  'jw2': 0.3,
  # Per class nothing is matched to another class, so more can be asked.
  **dict.fromkeys(('paired', 'cmmd_linear', 'cw2_gauss', 'cw2_gauss_full'), 10),
  'cw2': 30.0,
  # Sums of d ratios, large while a student is young.
  **{name: 3e-4 for name in UNITLESS if 'kl' in name or 'jeffreys' in name},
}


def measure(settings, clouds: Clouds) -> Array:
  """The metric of the settings over the batch, or the mean over its groups."""
  metric = METRICS[settings.metric]
  if settings.statistics == 'global':
    return metric(settings, clouds)
  parts = grouped(clouds, settings.local_groups)
  return jnp.mean(jax.vmap(functools.partial(metric, settings))(parts))
