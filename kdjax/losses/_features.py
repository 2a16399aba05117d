"""Distances between the features of one image, one value per example."""

import jax
import jax.numpy as jnp

from kdjax.losses.numerics import (
  check_same_shape,
  full_precision,
  magnitude,
  unit_rows,
)


def mean_squared_error(student: jax.Array, teacher: jax.Array) -> jax.Array:
  r"""Computes the mean squared difference of the features of each image.

  .. math::
    \ell_i = \frac{1}{M} \sum_m (x_{im} - y_{im})^2

  over all :math:`M` elements of an image: pixels and channels alike. Its mean
  over the batch is PyTorch's `mse_loss`.

  Args:
    student: :math:`x`, float `[B, ...]`: feature maps, tokens or embeddings.
    teacher: :math:`y`, of the same shape. Receives a gradient, too.

  Returns:
    `[B]`, one value per example, in the squared unit of the features and in at
    least float32.

  Raises:
    ValueError: If the shapes differ.

  Examples:
    >>> import jax.numpy as jnp
    >>> from kdjax import losses
    >>> student = jnp.array([[1.0, 2.0], [0.0, 0.0]])
    >>> teacher = jnp.array([[1.0, 4.0], [1.0, 2.0]])
    >>> print(losses.mean_squared_error(student, teacher))
    [2.  2.5]
  """
  check_same_shape('mean_squared_error', student, teacher)
  difference = full_precision(student) - full_precision(teacher)
  return jnp.mean(difference**2, axis=tuple(range(1, difference.ndim)))


def mean_absolute_error(student: jax.Array, teacher: jax.Array) -> jax.Array:
  r"""Computes the mean absolute difference of the features of each image.

  .. math::
    \ell_i = \frac{1}{M} \sum_m |x_{im} - y_{im}|

  Its mean over the batch is PyTorch's `l1_loss`.

  Args:
    student: :math:`x`, float `[B, ...]` with :math:`M` elements per image.
    teacher: :math:`y`, of the same shape. Receives a gradient, too.

  Returns:
    `[B]`, one value per example, in the unit of the features and in at least
    float32.

  Raises:
    ValueError: If the shapes differ.
  """
  check_same_shape('mean_absolute_error', student, teacher)
  difference = full_precision(student) - full_precision(teacher)
  return jnp.mean(magnitude(difference), axis=tuple(range(1, difference.ndim)))


def direction_squared_error(
  student: jax.Array, teacher: jax.Array
) -> jax.Array:
  r"""Computes the mean squared difference of two normalized features.

  .. math::
    \ell = \frac1D \Bigl\lVert \frac{x}{\lVert x \rVert}
      - \frac{y}{\lVert y \rVert} \Bigr\rVert^2
      = \frac{2}{D} (1 - \cos\theta)

  with the angle :math:`\theta` between the two. Lengths are clipped to at
  least 1e-12; the gradient at a zero vector is finite.

  Args:
    student: :math:`x`, float `[..., D]`.
    teacher: :math:`y`, of the same shape. Receives a gradient, too.

  Returns:
    `[...]`, in at least float32.

  Raises:
    ValueError: If the shapes differ.
  """
  check_same_shape('direction_squared_error', student, teacher)
  x, y = full_precision(student), full_precision(teacher)
  return jnp.mean((unit_rows(x) - unit_rows(y)) ** 2, axis=-1)
