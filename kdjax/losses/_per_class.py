"""Class-conditional distances, aggregated over the classes."""

# pyright: reportUnknownMemberType=false

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from kdjax.losses._bures import (
  gaussian_wasserstein2_full,
  gaussian_wasserstein2_full_by_class,
)
from kdjax.losses._gaussian import (
  gaussian_jeffreys,
  gaussian_jeffreys_by_class,
  gaussian_kl,
  gaussian_kl_by_class,
  gaussian_wasserstein2,
  gaussian_wasserstein2_by_class,
)
from kdjax.losses._gaussian_full import (
  gaussian_jeffreys_full,
  gaussian_jeffreys_full_by_class,
  gaussian_kl_full,
  gaussian_kl_full_by_class,
)
from kdjax.losses._mmd import (
  mmd_cosine,
  mmd_cosine_by_class,
  mmd_linear,
  mmd_linear_by_class,
  mmd_rbf,
  mmd_rbf_by_class,
)
from kdjax.losses.numerics import promote_embeddings
from kdjax.losses.transport.wasserstein import (
  wasserstein2,
  wasserstein2_by_class,
)

Distance = Callable[..., jax.Array]

# How per-class distances `[classes]` and sample counts `[classes]` become one
# number.
AGGREGATIONS: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
  'mean_present': lambda values, counts: (
    jnp.sum(values) / jnp.maximum(jnp.sum(counts > 0), 1)
  ),
  'mean_all': lambda values, counts: jnp.mean(values),
  'sum': lambda values, counts: jnp.sum(values),
  'weighted': lambda values, counts: (
    jnp.sum(values * counts) / jnp.maximum(jnp.sum(counts), 1)
  ),
}

# Each distance and its batched form `(student [n, d], teacher [n, d], one-hot
# labels [n, classes], **settings) -> [classes]`, which computes all classes at
# once and gives zero for a class without samples.
BY_CLASS: dict[Distance, Distance] = {
  gaussian_jeffreys: gaussian_jeffreys_by_class,
  gaussian_jeffreys_full: gaussian_jeffreys_full_by_class,
  gaussian_kl: gaussian_kl_by_class,
  gaussian_kl_full: gaussian_kl_full_by_class,
  gaussian_wasserstein2: gaussian_wasserstein2_by_class,
  gaussian_wasserstein2_full: gaussian_wasserstein2_full_by_class,
  mmd_cosine: mmd_cosine_by_class,
  mmd_linear: mmd_linear_by_class,
  mmd_rbf: mmd_rbf_by_class,
  wasserstein2: wasserstein2_by_class,
}


def per_class(
  distance: Distance,
  student: jax.Array,
  teacher: jax.Array,
  labels: jax.Array,
  classes: int,
  *,
  aggregation: str | None = 'mean_present',
  **settings: Any,
) -> jax.Array:
  r"""Computes a distance within each class and aggregates over the classes.

  Let :math:`D_c` be the distance between the student's and the teacher's
  samples of class :math:`c`, :math:`n_c` the number of these samples and
  :math:`D_c = 0`, with zero gradient, if :math:`n_c = 0`:

  ============== ==================================================
  `aggregation`  result
  ============== ==================================================
  `mean_present` mean of :math:`D_c` over the classes in the batch
  `mean_all`     :math:`\frac1K \sum_c D_c`, as in the KD²M paper
  `sum`          :math:`\sum_c D_c`, as in the KD²M code
  `weighted`     :math:`\sum_c n_c D_c / n`
  ============== ==================================================

  All classes are computed at once. With many classes and a small batch most
  classes have few samples: transport distances then approach
  `paired_distance`, and estimates of moments are poor. A class of one sample
  has zero variance, so that its divergences are of the order of the squared
  distance divided by the ridge. The divergences of full covariances allocate
  `[classes, n + d, d]` arrays.

  Args:
    distance: One of `gaussian_jeffreys`, `gaussian_jeffreys_full`,
      `gaussian_kl`, `gaussian_kl_full`, `gaussian_wasserstein2`,
      `gaussian_wasserstein2_full`, `mmd_cosine`, `mmd_linear`, `mmd_rbf`
      (biased, one bandwidth per class) and `wasserstein2`.
    student: Embeddings, float `[n, d]`.
    teacher: Embeddings of the same images in the same order, float `[n, d]`.
    labels: True classes of the images, integer `[n]`.
    classes: :math:`K`, the number of classes.
    aggregation: A key of `AGGREGATIONS`, or None for no aggregation.
    **settings: Keyword arguments of the distance: `ridge` of a divergence,
      `polar` of `gaussian_wasserstein2_full`, `scales` of `mmd_rbf`, `assign`
      of `wasserstein2`.

  Returns:
    A scalar, in the unit of the distance; `[classes]` if `aggregation` is
    None.

  Raises:
    ValueError: If the distance, a setting or the aggregation is unknown, or if
      the shapes are inconsistent.

  References:
    Fernandes Montesuma, `KD²M <https://arxiv.org/abs/2504.01757>`_, 2025.

  Examples:
    >>> import jax.numpy as jnp
    >>> from kdjax import losses
    >>> student = jnp.array([[0.0], [1.0], [5.0]])
    >>> teacher = jnp.array([[1.0], [3.0], [8.0]])
    >>> labels = jnp.array([0, 0, 2])
    >>> by_class = losses.per_class(
    ...   losses.wasserstein2, student, teacher, labels, 3, aggregation=None
    ... )
    >>> print(by_class.round(4))
    [2.5 0.  9. ]
    >>> loss = losses.per_class(
    ...   losses.gaussian_kl, student, teacher, labels, 3, ridge=1.0
    ... )
    >>> print(round(float(loss), 4))
    2.555
  """
  by_class = _by_class(distance, settings)
  if aggregation is not None and aggregation not in AGGREGATIONS:
    raise ValueError(
      f'aggregation must be one of {", ".join(AGGREGATIONS)}, or None for the '
      f'distance of each class, got {aggregation!r}.'
    )
  name = f'per_class({distance.__name__})'
  student, teacher = promote_embeddings(name, student, teacher, paired=True)
  labels = jnp.asarray(labels)
  if labels.shape != student.shape[:1]:
    raise ValueError(
      f'{name} needs one label per sample, [{len(student)}], got '
      f'{labels.shape}.'
    )
  one_hot = jax.nn.one_hot(labels, classes, dtype=student.dtype)
  values = by_class(student, teacher, one_hot, **settings)
  if aggregation is None:
    return values
  return AGGREGATIONS[aggregation](values, jnp.sum(one_hot, axis=0))


def _by_class(distance: Distance, settings: dict[str, Any]) -> Distance:
  """Returns the batched form of a distance if it accepts the settings."""
  if distance not in BY_CLASS:
    known = ', '.join(sorted(known.__name__ for known in BY_CLASS))
    raise ValueError(
      f'per_class needs one of the distances {known}, the function itself, '
      f'with its settings as keyword arguments of per_class; got {distance!r}.'
    )
  accepted = inspect.getfullargspec(BY_CLASS[distance]).kwonlyargs
  unknown = sorted(settings.keys() - set(accepted))
  if unknown:
    raise ValueError(
      f'per_class({distance.__name__}) accepts the settings '
      f'{", ".join(accepted) or "(none)"}, got {", ".join(unknown)}.'
    )
  return BY_CLASS[distance]
