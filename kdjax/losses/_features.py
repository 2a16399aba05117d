"""Distances between the features of one image; one value per example."""

import jax
import jax.numpy as jnp

from kdjax.losses.numerics import check_same, full_precision, magnitude, unit


def mean_squared_error(student: jax.Array, teacher: jax.Array) -> jax.Array:
  r"""Mean squared difference of the features of one image.

  .. math::
    \ell_i = \frac{1}{M} \sum_m (x_{im} - y_{im})^2

  over all :math:`M` elements of an image: places and channels alike. Its mean
  over the batch is PyTorch's `mse_loss`.

  Args:
    student: :math:`x`, float `[B, ...]`, maps, tokens or embeddings.
    teacher: :math:`y`, of the same shape. No gradient is stopped here.

  Returns:
    `[B]`, one value per example, in the features' unit squared. In float32 at
    least.

  Raises:
    ValueError: If the shapes differ.
  """
  check_same('mean_squared_error', student, teacher)
  difference = full_precision(student) - full_precision(teacher)
  return jnp.mean(difference**2, axis=tuple(range(1, difference.ndim)))


def mean_absolute_error(student: jax.Array, teacher: jax.Array) -> jax.Array:
  r"""Mean absolute difference of the features of one image.

  .. math::
    \ell_i = \frac{1}{M} \sum_m |x_{im} - y_{im}|

  Args:
    student: :math:`x`, float `[B, ...]` with :math:`M` elements per image.
    teacher: :math:`y`, of the same shape. No gradient is stopped here.

  Returns:
    `[B]`, one value per example, in the features' unit. In float32 at least.

  Raises:
    ValueError: If the shapes differ.
  """
  check_same('mean_absolute_error', student, teacher)
  difference = full_precision(student) - full_precision(teacher)
  return jnp.mean(magnitude(difference), axis=tuple(range(1, difference.ndim)))


def direction_squared_error(
  student: jax.Array, teacher: jax.Array
) -> jax.Array:
  r"""Mean squared difference of two features over their lengths.

  .. math::
    \ell = \frac1D \Bigl\lVert \frac{x}{\lVert x \rVert}
      - \frac{y}{\lVert y \rVert} \Bigr\rVert^2
      = \frac{2}{D} (1 - \cos\theta)

  with the angle :math:`\theta` of the two. A length below 1e-12 counts as
  that; the gradient at zero is finite.

  Args:
    student: :math:`x`, float `[..., D]`.
    teacher: :math:`y`, of the same shape. No gradient is stopped here.

  Returns:
    `[...]`, in float32 at least.

  Raises:
    ValueError: If the shapes differ.
  """
  check_same('direction_squared_error', student, teacher)
  difference = unit(full_precision(student)) - unit(full_precision(teacher))
  return jnp.mean(difference**2, axis=-1)
