"""From a distance per class to one number."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from kdjax.losses.numerics import clouds, matmul

PerClass = Callable[[jax.Array, jax.Array, jax.Array, int], jax.Array]

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


def class_conditional(
  student: jax.Array,
  teacher: jax.Array,
  labels: jax.Array,
  *,
  distance: PerClass,
  classes: int,
  aggregation: str = 'mean_present',
) -> jax.Array:
  r"""A distance between the laws of each class, over the classes.

  With :math:`D_c` between the samples whose label is :math:`c`, :math:`n_c` of
  them, and :math:`D_c = 0`, without gradient, for a class the batch lacks:

  ============== ==================================================
  `mean_present` mean of :math:`D_c` over the classes in the batch
  `mean_all`     :math:`\frac1K \sum_c D_c`, as the KD²M paper has it
  `sum`          :math:`\sum_c D_c`, as its code has it
  `weighted`     :math:`\sum_c n_c D_c / n`
  ============== ==================================================

  With many classes and a small batch most classes have few samples: the
  transport forms then are nearly `paired_distance`, and moments say little.

  Args:
    student: Float `[n, d]`.
    teacher: Float `[n, d]`, of the same images in the same order.
    labels: Integer `[n]`, the true classes of the images, for both.
    distance: One of the functions `*_per_class`.
    classes: :math:`K`.
    aggregation: How the classes are put together.

  Returns:
    A scalar, squared.

  Raises:
    ValueError: If shapes do not belong together or the aggregation is unknown.

  References:
    Fernandes Montesuma, `KD²M <https://arxiv.org/abs/2504.01757>`_, 2025.
  """
  if aggregation not in AGGREGATIONS:
    raise ValueError(
      f'aggregation must be one of {", ".join(AGGREGATIONS)}, got '
      f'{aggregation!r}.'
    )
  values = distance(student, teacher, labels, classes)
  counts = jnp.sum(membership(labels, classes, values.dtype), axis=0)
  return AGGREGATIONS[aggregation](values, counts)


def labelled(
  name: str,
  student: jax.Array,
  teacher: jax.Array,
  labels: jax.Array,
  classes: int,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Both clouds in full precision and `membership`, shapes checked."""
  student, teacher = clouds(name, student, teacher, paired=True)
  labels = jnp.asarray(labels)
  if labels.shape != student.shape[:1]:
    raise ValueError(
      f'{name} needs one label per sample, [{len(student)}], got '
      f'{labels.shape}.'
    )
  return student, teacher, membership(labels, classes, student.dtype)


def membership(labels: jax.Array, classes: int, dtype) -> jax.Array:
  """`[n, classes]`: one where a sample has the class, else zero."""
  return jax.nn.one_hot(labels, classes, dtype=dtype)


def class_means(x: jax.Array, member: jax.Array) -> jax.Array:
  """Mean of `x` over the samples of each class, `[classes, ...]`, or zero."""
  counts = jnp.maximum(jnp.sum(member, axis=0), 1)
  sums = matmul(member.T, x)
  return sums / counts.reshape(-1, *([1] * (x.ndim - 1)))
