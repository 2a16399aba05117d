"""LSHFM: losses of features hashed by random hyperplanes."""

import jax
import jax.numpy as jnp

from kdjax.losses.numerics import (
  check_same_shape,
  full_precision,
  magnitude,
  matmul,
)


def draw_hashes(
  key: jax.Array, width: int, count: int, standard_deviation: float = 1.0
) -> jax.Array:
  """Draws the normals of random hyperplanes from a normal distribution.

  Args:
    key: Random key.
    width: Number of features D.
    count: Number of hyperplanes N.
    standard_deviation: Standard deviation of each entry; the mean is zero.

  Returns:
    Float32 `[D, N]`, one normal per column.

  Raises:
    ValueError: If the width or the count is below 1.
  """
  if width < 1 or count < 1:
    raise ValueError(
      'draw_hashes needs a width and a number of hashes of at least 1, got '
      f'{width} and {count}.'
    )
  return standard_deviation * jax.random.normal(
    key, (width, count), jnp.float32
  )


def hash_values(
  features: jax.Array, kernel: jax.Array, bias: jax.Array
) -> jax.Array:
  r"""Computes the hash values :math:`h = f W + b` in full precision.

  They are the signed distances from the hyperplanes times the lengths of the
  normals. The bit of a hash is the sign of its value, which TF32 or bfloat16
  would change for features near a hyperplane.

  Args:
    features: :math:`f`, float `[..., D]`.
    kernel: :math:`W`, float `[D, N]`, for example from `draw_hashes`.
    bias: :math:`b`, float `[N]`.

  Returns:
    `[..., N]`, in at least float32. The bit is `h > 0`; it is 0 on the
    hyperplane itself.

  Raises:
    ValueError: If the shapes are inconsistent or there are no hashes.
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
  r"""Computes the cross-entropy between student hashes and teacher bits.

  With :math:`h^s = f^s W + b` and the bits :math:`y_j = 1[h^t_j > 0]`,

  .. math::
    \ell = \frac1N \sum_j \log(1 + e^{h^s_j}) - y_j h^s_j ,

  the mean loss of N binary classifications. For :math:`b = 0` it depends on
  the teacher's features only through their direction; see docs/lshfm.md.

  Args:
    student: :math:`f^s`, float `[..., D]`.
    teacher: :math:`f^t`, float `[..., D]`. Receives no gradient, because bits
      have none.
    kernel: :math:`W`, float `[D, N]`, shared by both and not trained.
    bias: :math:`b`, float `[N]`.

  Returns:
    `[...]`, one value per example, in nats and in at least float32.

  Raises:
    ValueError: If the shapes are inconsistent or there are no hashes.

  References:
    Wang, Ge and Wu, `Distilling Knowledge by Mimicking Features
    <https://arxiv.org/abs/2011.01424>`_, 2021. The mean over the batch is the
    loss of the authors' code.

  Examples:
    >>> import jax.numpy as jnp
    >>> from kdjax import losses
    >>> student = jnp.array([[1.0, -2.0]])
    >>> teacher = jnp.array([[3.0, -1.0]])
    >>> print(losses.lsh(student, teacher, jnp.eye(2), jnp.zeros(2)).round(4))
    [0.2201]
  """
  of_student, of_teacher = _hash_pair(student, teacher, kernel, bias)
  # log(1 + e^h) - y h equals log(1 + e^-h) for a bit of 1, without
  # cancellation.
  margin = jnp.where(of_teacher > 0, -of_student, of_student)
  return jnp.mean(jax.nn.softplus(margin), axis=-1)


def lsh_absolute(
  student: jax.Array, teacher: jax.Array, kernel: jax.Array, bias: jax.Array
) -> jax.Array:
  r"""Computes the mean over the hashes of :math:`|h^s_j - h^t_j|`.

  It compares hash values rather than bits, and :math:`b` cancels.

  Args:
    student: Float `[..., D]`.
    teacher: Float `[..., D]`. Receives a gradient, too.
    kernel: Float `[D, N]`, as in `lsh`.
    bias: Float `[N]`, as in `lsh`.

  Returns:
    `[...]`, one value per example, in at least float32.

  Raises:
    ValueError: If the shapes are inconsistent or there are no hashes.
  """
  of_student, of_teacher = _hash_pair(student, teacher, kernel, bias)
  return jnp.mean(magnitude(of_student - of_teacher), axis=-1)


def lsh_squared(
  student: jax.Array, teacher: jax.Array, kernel: jax.Array, bias: jax.Array
) -> jax.Array:
  r"""Computes the mean over the hashes of :math:`(h^s_j - h^t_j)^2`.

  Its expectation over random hyperplanes is :math:`\sigma^2 \lVert f^s - f^t
  \rVert^2` with the standard deviation :math:`\sigma` of `draw_hashes`. It
  compares hash values rather than bits, and :math:`b` cancels.

  Args:
    student: Float `[..., D]`.
    teacher: Float `[..., D]`. Receives a gradient, too.
    kernel: Float `[D, N]`, as in `lsh`.
    bias: Float `[N]`, as in `lsh`.

  Returns:
    `[...]`, one value per example, in at least float32.

  Raises:
    ValueError: If the shapes are inconsistent or there are no hashes.
  """
  of_student, of_teacher = _hash_pair(student, teacher, kernel, bias)
  return jnp.mean(jnp.square(of_student - of_teacher), axis=-1)


def _hash_pair(
  student: jax.Array, teacher: jax.Array, kernel: jax.Array, bias: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Computes the hash values of both networks."""
  check_same_shape('A hash loss', student, teacher)
  return (
    hash_values(student, kernel, bias),
    hash_values(teacher, kernel, bias),
  )
