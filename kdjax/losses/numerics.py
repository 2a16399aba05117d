"""What every loss does to its arrays first: precision, shapes, placement."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

HIGHEST = jax.lax.Precision.HIGHEST


def full_precision(x: Any) -> jax.Array:
  """`x` in at least float32; float64 stays what it is."""
  x = jnp.asarray(x)
  return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def matmul(x: jax.Array, y: jax.Array) -> jax.Array:
  """Product without TF32 or bfloat16 passes: small distances survive."""
  return jnp.matmul(x, y, precision=HIGHEST)


def magnitude(x: jax.Array) -> jax.Array:
  """`|x|` with slope 0 at zero, where that of `jnp.abs` is 1."""
  return x * jax.lax.stop_gradient(jnp.sign(x))


def unit(rows: jax.Array) -> jax.Array:
  """Rows over their length, floored at 1e-12; finite gradient at zero."""
  square = jnp.sum(rows**2, axis=-1, keepdims=True)
  safe = jnp.where(square > 0, square, 1.0)
  return rows / jnp.maximum(jnp.sqrt(safe), 1e-12)


def check_same(name: str, student: Any, teacher: Any) -> None:
  """Raises a `ValueError` unless both have one shape `[..., D]`, D not 0."""
  if student.shape != teacher.shape or student.shape[-1:] in ((), (0,)):
    raise ValueError(
      f'{name} needs features [..., D] of one shape, got student '
      f'{student.shape} and teacher {teacher.shape}.'
    )


def whole(x: jax.Array) -> jax.Array:
  """`x`, complete on every device, if a mesh has been set.

  A search that looks at one row per step would otherwise talk to all devices
  in every step. The mesh is the one of `jax.set_mesh`; without one nothing is
  asked for.
  """
  if jax.sharding.get_abstract_mesh().empty:
    return x
  return jax.lax.with_sharding_constraint(x, PartitionSpec())


def check_clouds(
  name: str, student: jax.Array, teacher: jax.Array, *, paired: bool = False
) -> None:
  """Raises unless both are `[samples, width]` of one width and not empty.

  Args:
    name: The function that asks, for the message.
    student: The student's samples.
    teacher: The teacher's.
    paired: Whether row i of both must belong to the same image.

  Raises:
    ValueError: With both shapes and what was expected.
  """
  fits = student.ndim == teacher.ndim == 2
  fits = fits and student.shape[1] == teacher.shape[1]
  fits = fits and min(student.shape + teacher.shape) > 0
  if not fits or (paired and student.shape != teacher.shape):
    rows = '[n, d] and [n, d]' if paired else '[n, d] and [m, d]'
    raise ValueError(
      f'{name} needs samples {rows} with n, m, d >= 1, got student '
      f'{student.shape} and teacher {teacher.shape}.'
    )


def clouds(
  name: str, student: Any, teacher: Any, *, paired: bool = False
) -> tuple[jax.Array, jax.Array]:
  """Both in full precision, after `check_clouds`."""
  student, teacher = full_precision(student), full_precision(teacher)
  check_clouds(name, student, teacher, paired=paired)
  return student, teacher
