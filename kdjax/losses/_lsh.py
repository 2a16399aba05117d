"""LSHFM: features compared by which sides of random planes they lie on."""

import jax
import jax.numpy as jnp

from kdjax.losses.numerics import check_same, full_precision, magnitude, matmul


def draw_hashes(
  key: jax.Array, width: int, count: int, spread: float = 1.0
) -> jax.Array:
  """Normals of random planes, float32 `[width, count]`.

  Args:
    key: They are a function of it.
    width: D of the features.
    count: How many planes.
    spread: Standard deviation of each entry; the mean is zero.

  Raises:
    ValueError: If there are no hashes or nothing to hash.
  """
  if width < 1 or count < 1:
    raise ValueError(
      'draw_hashes needs a width and a number of hashes of at least 1, got '
      f'{width} and {count}.'
    )
  return spread * jax.random.normal(key, (width, count), jnp.float32)


def hash_values(
  features: jax.Array, kernel: jax.Array, bias: jax.Array
) -> jax.Array:
  r"""Signed distances from the planes, times the length of their normals.

  :math:`h = f W + b`, at full precision: the sign is a bit, and TF32 or
  bfloat16 would turn it for features near a plane.

  Args:
    features: Float `[..., D]`.
    kernel: :math:`W`, float `[D, N]`, as of `draw_hashes`.
    bias: :math:`b`, float `[N]`.

  Returns:
    `[..., N]`, in float32 at least. The bit is `h > 0`: 0 on the plane itself.

  Raises:
    ValueError: If the shapes do not belong together or there are no hashes.
  """
  if (
    kernel.ndim != 2
    or kernel.shape[1] < 1
    or bias.shape != kernel.shape[1:]
    or features.shape[-1:] != kernel.shape[:1]
  ):
    raise ValueError(
      'Hashes need features [..., D], a kernel [D, N] and a bias [N] with N of '
      f'at least 1, got {features.shape}, {kernel.shape} and {bias.shape}.'
    )
  features = full_precision(features)
  return matmul(features, full_precision(kernel)) + full_precision(bias)


def lsh(
  student: jax.Array, teacher: jax.Array, kernel: jax.Array, bias: jax.Array
) -> jax.Array:
  r"""How badly the student's features predict the bits of the teacher's.

  With :math:`h^s = f^s W + b` and the bits :math:`y_j = 1[h^t_j > 0]`,

  .. math::
    \ell = \frac1N \sum_j \log(1 + e^{h^s_j}) - y_j h^s_j ,

  the cross-entropy of N yes-or-no problems. With :math:`b = 0` it depends on
  the teacher's direction alone; see docs/lshfm.md.

  Args:
    student: Float `[..., D]`.
    teacher: Float `[..., D]`. Bits have no gradient.
    kernel: :math:`W`, float `[D, N]`, the same for both and fixed.
    bias: :math:`b`, float `[N]`.

  Returns:
    `[...]`, one value per example, in nats. In float32 at least.

  Raises:
    ValueError: If the shapes do not belong together or there are no hashes.

  References:
    Wang, Ge and Wu, `Distilling Knowledge by Mimicking Features
    <https://arxiv.org/abs/2011.01424>`_, 2021. The mean over the batch is the
    loss of the authors' code.
  """
  of_student, of_teacher = _both(student, teacher, kernel, bias)
  # log(1 + e^h) - y h is log(1 + e^-h) where the bit is 1: nothing cancels.
  wrong = jnp.where(of_teacher > 0, -of_student, of_student)
  return jnp.mean(jax.nn.softplus(wrong), axis=-1)


def lsh_absolute(
  student: jax.Array, teacher: jax.Array, kernel: jax.Array, bias: jax.Array
) -> jax.Array:
  r"""Mean over the hashes of :math:`|h^s_j - h^t_j|`; arguments as `lsh`'s.

  No bits are used, and :math:`b` cancels. No gradient is stopped.
  """
  of_student, of_teacher = _both(student, teacher, kernel, bias)
  return jnp.mean(magnitude(of_student - of_teacher), axis=-1)


def lsh_squared(
  student: jax.Array, teacher: jax.Array, kernel: jax.Array, bias: jax.Array
) -> jax.Array:
  r"""Mean over the hashes of :math:`(h^s_j - h^t_j)^2`; arguments as `lsh`'s.

  Over random planes it is :math:`\sigma^2 \lVert f^s - f^t \rVert^2` in
  expectation. No bits are used, and :math:`b` cancels. No gradient is stopped.
  """
  of_student, of_teacher = _both(student, teacher, kernel, bias)
  return jnp.mean(jnp.square(of_student - of_teacher), axis=-1)


def _both(student, teacher, kernel, bias):
  check_same('A hash loss', student, teacher)
  return (
    hash_values(student, kernel, bias),
    hash_values(teacher, kernel, bias),
  )
