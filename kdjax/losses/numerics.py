"""Numerical helpers of the losses: precision, norms, shape checks."""

# pyright: reportUnknownMemberType=false

from typing import Any, Protocol, cast

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jax.typing import ArrayLike, DTypeLike

HIGHEST = jax.lax.Precision.HIGHEST


class HasShape(Protocol):
  """Array of JAX or NumPy, or an abstract one."""

  @property
  def shape(self) -> tuple[int, ...]:
    """Sizes of the axes."""
    ...


def full_precision(x: ArrayLike) -> jax.Array:
  """Converts to at least float32.

  Args:
    x: Array of any shape and dtype.

  Returns:
    The same numbers in float32, or in float64 if `x` is float64.
  """
  x = jnp.asarray(x)
  return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def matmul(x: jax.Array, y: jax.Array) -> jax.Array:
  """Computes a matrix product without TF32 or bfloat16 passes.

  Distances that are small differences of large products need all digits.

  Args:
    x: Float `[..., n, k]`.
    y: Float `[..., k, m]`.

  Returns:
    `[..., n, m]`, as of `jax.numpy.matmul`.
  """
  return jnp.matmul(x, y, precision=HIGHEST)


def machine_epsilon(dtype: DTypeLike) -> float:
  """Returns the relative distance of adjacent floating-point numbers.

  Args:
    dtype: A floating dtype.

  Returns:
    The distance from 1 to the next larger number.
  """
  return float(cast(Any, jnp.finfo(dtype).eps))


def magnitude(x: jax.Array) -> jax.Array:
  """Computes `|x|` with derivative 0 at zero, where `jnp.abs` has 1.

  Args:
    x: Float array.

  Returns:
    Array of the same shape and dtype.
  """
  return x * jax.lax.stop_gradient(jnp.sign(x))


def unit_rows(x: jax.Array) -> jax.Array:
  """Normalizes vectors to length one.

  Args:
    x: Float `[..., D]`.

  Returns:
    `[..., D]`, divided by the length, or by 1e-12 if that is larger. The
    gradient at a zero vector is finite.
  """
  square = jnp.sum(x**2, axis=-1, keepdims=True)
  safe = jnp.where(square > 0, square, 1.0)
  return x / jnp.maximum(jnp.sqrt(safe), 1e-12)


def replicated(x: jax.Array) -> jax.Array:
  """Returns `x`, replicated on every device if a mesh is set.

  A search that reads one row per step would otherwise communicate between
  devices in every step.

  Args:
    x: Array of any shape.

  Returns:
    `x`, constrained to be replicated over the mesh of `jax.set_mesh`;
    unchanged if no mesh is set.
  """
  if jax.sharding.get_abstract_mesh().empty:
    return x
  return jax.lax.with_sharding_constraint(x, PartitionSpec())


def check_same_shape(name: str, student: HasShape, teacher: HasShape) -> None:
  """Checks that both arrays have one shape `[..., D]` with D of at least 1.

  Args:
    name: Name of the calling function, for the message.
    student: Features of the student.
    teacher: Features of the teacher.

  Raises:
    ValueError: If the shapes differ or the arrays have no features.
  """
  if student.shape != teacher.shape or student.shape[-1:] in ((), (0,)):
    raise ValueError(
      f'{name} needs features [..., D] of one shape, got student '
      f'{student.shape} and teacher {teacher.shape}.'
    )


def promote_embeddings(
  name: str, student: ArrayLike, teacher: ArrayLike, *, paired: bool = False
) -> tuple[jax.Array, jax.Array]:
  """Converts two batches of embeddings to at least float32.

  Args:
    name: Name of the calling function, for the message.
    student: Embeddings of the student, float `[n, d]`.
    teacher: Embeddings of the teacher, float `[m, d]`.
    paired: Whether row i of both must belong to the same image, so that n = m.

  Returns:
    Both batches in `full_precision`.

  Raises:
    ValueError: If the widths differ, a batch is empty or, for paired batches,
      the sizes differ.
  """
  x, y = full_precision(student), full_precision(teacher)
  valid = x.ndim == y.ndim == 2 and x.shape[1] == y.shape[1]
  valid = valid and min(x.shape + y.shape) > 0
  if not valid or (paired and x.shape != y.shape):
    rows = '[n, d] and [n, d]' if paired else '[n, d] and [m, d]'
    raise ValueError(
      f'{name} needs samples {rows} with n, m, d >= 1, got student '
      f'{x.shape} and teacher {y.shape}.'
    )
  return x, y
