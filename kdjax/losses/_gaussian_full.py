"""Divergences of Gaussians with full covariance."""

import jax
import jax.numpy as jnp

from kdjax.losses._classes import labelled
from kdjax.losses.numerics import clouds, matmul


def gaussian_kl_full(
  student: jax.Array,
  teacher: jax.Array,
  *,
  ridge: jax.typing.ArrayLike = 1e-3,
) -> jax.Array:
  r"""KL(student || teacher) of Gaussians with full covariance.

  .. math::
    \frac12 \left[ \mathrm{tr}(\Sigma_Y^{-1} \Sigma_X)
      + (\mu_Y - \mu_X)^\top \Sigma_Y^{-1} (\mu_Y - \mu_X) - d
      + \log\det\Sigma_Y - \log\det\Sigma_X \right]

  with :math:`r I` added to both covariances. With the arguments
  exchanged it is the other direction.

  Args:
    student: :math:`X`, float `[n, d]`.
    teacher: :math:`Y`, float `[m, d]`.
    ridge: :math:`r`, in the units of a variance. Needed unless n, m > d + 1:
      without it the covariances are singular and the result is not finite. May
      be traced, so it is not checked here.

  Returns:
    A scalar, in nats.

  Raises:
    ValueError: If the widths differ or a batch is empty.
  """
  student, teacher = clouds('gaussian_kl_full', student, teacher)
  return _kl(_law(student, ridge), _law(teacher, ridge))


def gaussian_kl_full_per_class(
  student: jax.Array,
  teacher: jax.Array,
  labels: jax.Array,
  classes: int,
  *,
  ridge: jax.typing.ArrayLike = 1e-3,
) -> jax.Array:
  """`gaussian_kl_full` between the samples of each class.

  It holds `[classes, n + d, d]` arrays: for few classes or narrow features.

  Args:
    student: Float `[n, d]`.
    teacher: Float `[n, d]`, of the same images.
    labels: Integer `[n]`.
    classes: How many there are.
    ridge: See `gaussian_kl_full`; not zero, for classes of few samples.

  Returns:
    `[classes]`, in nats; zero for a class without samples.

  Raises:
    ValueError: If shapes do not belong together.
  """
  student, teacher, member = labelled(
    'gaussian_kl_full_per_class', student, teacher, labels, classes
  )
  return _over_classes(_kl, student, teacher, member, ridge)


def gaussian_jeffreys_full(
  student: jax.Array,
  teacher: jax.Array,
  *,
  ridge: jax.typing.ArrayLike = 1e-3,
) -> jax.Array:
  r"""KL(student || teacher) + KL(teacher || student), full covariance.

  .. math::
    \frac12 \left[ \mathrm{tr}(\Sigma_Y^{-1} \Sigma_X)
      + \mathrm{tr}(\Sigma_X^{-1} \Sigma_Y) - 2 d
      + \delta^\top (\Sigma_X^{-1} + \Sigma_Y^{-1}) \, \delta \right],
    \qquad \delta = \mu_X - \mu_Y

  Args:
    student: :math:`X`, float `[n, d]`.
    teacher: :math:`Y`, float `[m, d]`.
    ridge: See `gaussian_kl_full`.

  Returns:
    A scalar, in nats: the sum of both directions, not its half.

  Raises:
    ValueError: If the widths differ or a batch is empty.
  """
  student, teacher = clouds('gaussian_jeffreys_full', student, teacher)
  return _jeffreys(_law(student, ridge), _law(teacher, ridge))


def gaussian_jeffreys_full_per_class(
  student: jax.Array,
  teacher: jax.Array,
  labels: jax.Array,
  classes: int,
  *,
  ridge: jax.typing.ArrayLike = 1e-3,
) -> jax.Array:
  """`gaussian_jeffreys_full` between the samples of each class.

  Args:
    student: Float `[n, d]`.
    teacher: Float `[n, d]`, of the same images.
    labels: Integer `[n]`.
    classes: How many there are.
    ridge: See `gaussian_kl_full_per_class`.

  Returns:
    `[classes]`, in nats; zero for a class without samples.

  Raises:
    ValueError: If shapes do not belong together.
  """
  student, teacher, member = labelled(
    'gaussian_jeffreys_full_per_class', student, teacher, labels, classes
  )
  return _over_classes(_jeffreys, student, teacher, member, ridge)


def _law(
  samples: jax.Array, ridge: jax.typing.ArrayLike
) -> tuple[jax.Array, jax.Array]:
  """Mean, and rows F with F'F = covariance (divisor n) + ridge I."""
  return _rows(samples, jnp.full(len(samples), 1 / len(samples)), ridge)


def _rows(
  samples: jax.Array, weights: jax.Array, ridge: jax.typing.ArrayLike
) -> tuple[jax.Array, jax.Array]:
  """The same for samples of given weights."""
  weights = weights.astype(samples.dtype)
  mean = matmul(weights, samples)
  rows = jnp.sqrt(weights)[:, None] * (samples - mean)
  edge = jnp.eye(samples.shape[1], dtype=samples.dtype)
  edge = jnp.sqrt(jnp.asarray(ridge, samples.dtype)) * edge
  return mean, jnp.concatenate([rows, edge])


def _over_classes(divergence, student, teacher, member, ridge) -> jax.Array:
  """A divergence of the laws within each class."""
  weights = (member / jnp.maximum(jnp.sum(member, axis=0), 1)).T

  def of_class(weights):
    laws = (_rows(cloud, weights, ridge) for cloud in (student, teacher))
    return divergence(*laws)

  return jax.vmap(of_class)(weights)


def _jeffreys(x, y) -> jax.Array:
  """From (mean, rows) of each."""
  return _quadratic(x, y)[0] + _quadratic(y, x)[0]


def _kl(student, teacher) -> jax.Array:
  """From (mean, rows) of each."""
  halves, root_y = _quadratic(student, teacher)
  return halves + _log_diagonal(root_y) - _log_diagonal(_root(student[1]))


def _quadratic(student, teacher) -> tuple[jax.Array, jax.Array]:
  """The divergence without its determinants, and the teacher's root."""
  (mean_x, rows_x), (mean_y, rows_y) = student, teacher
  root = _root(rows_y)
  known = jnp.concatenate([rows_x, (mean_x - mean_y)[None]])
  scaled = jax.scipy.linalg.solve_triangular(root, known.T, trans=1)
  return (jnp.sum(scaled**2) - len(mean_x)) / 2, root


def _root(rows: jax.Array) -> jax.Array:
  """Triangular R with R'R = F'F, from F itself.

  A covariance is never formed: with fewer samples than features its small
  eigenvalues, the ridge alone, would drown in the rounding of the large ones.
  """
  return jnp.linalg.qr(rows)[1]


def _log_diagonal(root: jax.Array) -> jax.Array:
  """Half the log-determinant of R'R."""
  return jnp.sum(jnp.log(jnp.abs(jnp.diag(root))))
