"""Squared maximum mean discrepancies."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from kdjax.losses._moments import class_means
from kdjax.losses.numerics import matmul, promote_embeddings
from kdjax.losses.transport.cost import (
  row_distances,
  self_distances,
  squared_distances,
)

# One matrix for each of the pairs XX, YY and XY.
Blocks = tuple[jax.Array, jax.Array, jax.Array]


def mmd_linear(student: jax.Array, teacher: jax.Array) -> jax.Array:
  r"""Computes the squared discrepancy under the linear kernel.

  .. math::
    \lVert \mu_X - \mu_Y \rVert^2

  Args:
    student: :math:`X`, float `[n, d]`.
    teacher: :math:`Y`, float `[m, d]`.

  Returns:
    A scalar, in at least float32: a squared distance summed over the features.

  Raises:
    ValueError: If the widths differ or a batch is empty.

  References:
    Gretton et al., `A Kernel Two-Sample Test
    <https://jmlr.org/papers/v13/gretton12a.html>`_, 2012.
  """
  student, teacher = promote_embeddings('mmd_linear', student, teacher)
  return jnp.sum((jnp.mean(student, axis=0) - jnp.mean(teacher, axis=0)) ** 2)


def mmd_linear_by_class(
  student: jax.Array, teacher: jax.Array, one_hot: jax.Array
) -> jax.Array:
  """Computes `mmd_linear` of each class; see `per_class`."""
  return row_distances(
    class_means(student, one_hot), class_means(teacher, one_hot)
  )


def mmd_rbf(
  student: jax.Array,
  teacher: jax.Array,
  *,
  bandwidth: ArrayLike | None = None,
  scales: Sequence[float] = (1.0,),
  unbiased: bool = False,
) -> jax.Array:
  r"""Computes the squared discrepancy under Gaussian kernels.

  With :math:`k(a, b) = \exp(-\lVert a - b \rVert^2 / 2 \sigma^2)`,

  .. math::
    \overline{k(X, X)} + \overline{k(Y, Y)} - 2 \, \overline{k(X, Y)} ,

  means over all pairs. The unbiased estimate excludes the pairs of a sample
  with itself and may be negative.

  Args:
    student: :math:`X`, float `[n, d]`.
    teacher: :math:`Y`, float `[m, d]`.
    bandwidth: :math:`\sigma`, in the unit of the features (default:
      `mean_distance` of the batches, without gradient).
    scales: Factors on :math:`\sigma^2`; the kernels are averaged. A common
      choice is 1/4, 1/2, 1, 2 and 4.
    unbiased: Whether to exclude the pairs of a sample with itself; needs at
      least two samples of each network.

  Returns:
    A scalar, in at least float32, between 0 and 2 unless `unbiased`.

  Raises:
    ValueError: If the widths differ or a batch is too small.

  References:
    Gretton et al., `A Kernel Two-Sample Test
    <https://jmlr.org/papers/v13/gretton12a.html>`_, 2012.

  Examples:
    >>> import jax.numpy as jnp
    >>> from kdjax import losses
    >>> student = jnp.array([[0.0], [2.0]])
    >>> teacher = jnp.array([[5.0], [1.0]])
    >>> distance = losses.mmd_rbf(student, teacher, bandwidth=2.0)
    >>> print(round(float(distance), 4))
    0.3041
  """
  student, teacher = promote_embeddings('mmd_rbf', student, teacher)
  if unbiased and min(len(student), len(teacher)) < 2:
    raise ValueError(
      'The unbiased discrepancy needs two samples of each network, got '
      f'{len(student)} and {len(teacher)}.'
    )
  blocks = _squared_distance_blocks(student, teacher)
  if bandwidth is None:
    bandwidth = _mean_distance(blocks)
  xx, yy, xy = (_kernel(block, bandwidth, scales) for block in blocks)
  if not unbiased:
    return jnp.mean(xx) + jnp.mean(yy) - 2 * jnp.mean(xy)
  return _off_diagonal_mean(xx) + _off_diagonal_mean(yy) - 2 * jnp.mean(xy)


def mean_distance(student: jax.Array, teacher: jax.Array) -> jax.Array:
  """Computes the mean distance of all pairs: the default `mmd_rbf` bandwidth.

  Args:
    student: Float `[n, d]`.
    teacher: Float `[m, d]`.

  Returns:
    A scalar, in the unit of the features, without gradient: the mean over the
    n² + m² + nm pairs XX, YY and XY, including pairs of a sample with itself.

  Raises:
    ValueError: If the widths differ or a batch is empty.
  """
  student, teacher = promote_embeddings('mean_distance', student, teacher)
  return _mean_distance(_squared_distance_blocks(student, teacher))


def mmd_rbf_by_class(
  student: jax.Array,
  teacher: jax.Array,
  one_hot: jax.Array,
  *,
  scales: Sequence[float] = (1.0,),
) -> jax.Array:
  """Computes `mmd_rbf` (biased) of each class; see `per_class`."""
  blocks = _squared_distance_blocks(student, teacher)

  distances = [_pair_means(_distances(block), one_hot) for block in blocks]
  bandwidth = jnp.mean(jnp.stack(distances), axis=0)
  bandwidth = matmul(one_hot, bandwidth)[:, None]
  xx, yy, xy = (
    _pair_means(_kernel(block, bandwidth, scales), one_hot) for block in blocks
  )
  return xx + yy - 2 * xy


def mmd_cosine(student: jax.Array, teacher: jax.Array) -> jax.Array:
  r"""Computes the squared discrepancy under the squared-cosine kernel.

  The kernel is :math:`k(a, b) = (a \cdot b / \lVert a \rVert
  \lVert b \rVert)^2`; it is zero if a or b is a zero vector. All pairs are
  included (biased estimate). Neuron selectivity transfer is this discrepancy
  between channels.

  Args:
    student: Float `[n, d]`.
    teacher: Float `[m, d]`.

  Returns:
    A scalar, in at least float32, between 0 and 2.

  Raises:
    ValueError: If the widths differ or a batch is empty.

  References:
    Huang and Wang, `Like What You Like: Knowledge Distill via Neuron
    Selectivity Transfer <https://arxiv.org/abs/1707.01219>`_, 2017.
  """
  student, teacher = promote_embeddings('mmd_cosine', student, teacher)
  xx, yy, xy = map(jnp.mean, _squared_cosine_blocks(student, teacher))
  return xx + yy - 2 * xy


def mmd_cosine_by_class(
  student: jax.Array, teacher: jax.Array, one_hot: jax.Array
) -> jax.Array:
  """Computes `mmd_cosine` of each class; see `per_class`."""
  blocks = _squared_cosine_blocks(student, teacher)
  xx, yy, xy = (_pair_means(block, one_hot) for block in blocks)
  return xx + yy - 2 * xy


def _pair_means(block: jax.Array, one_hot: jax.Array) -> jax.Array:
  """Computes the mean of `[n, n]` over the pairs within each class."""
  row_sums = jnp.sum(matmul(block, one_hot) * one_hot, axis=1)
  counts = jnp.maximum(jnp.sum(one_hot, axis=0), 1)
  return class_means(row_sums, one_hot) / counts


def _squared_cosine_blocks(x: jax.Array, y: jax.Array) -> Blocks:
  """Computes the squared cosines of the pairs XX, YY and XY."""
  x, y = _directions(x), _directions(y)
  return matmul(x, x.T) ** 2, matmul(y, y.T) ** 2, matmul(x, y.T) ** 2


def _squared_distance_blocks(x: jax.Array, y: jax.Array) -> Blocks:
  """Computes the squared distances of the pairs XX, YY and XY."""
  return self_distances(x), self_distances(y), squared_distances(x, y)


def _mean_distance(blocks: Blocks) -> jax.Array:
  """Computes the mean distance over the pairs of all blocks."""
  distances = jnp.concatenate([_distances(block).ravel() for block in blocks])
  return jnp.mean(distances)


def _distances(squares: jax.Array) -> jax.Array:
  """Computes distances without gradient, which would be infinite at zero."""
  return jnp.sqrt(jax.lax.stop_gradient(squares))


def _kernel(
  squares: jax.Array, bandwidth: ArrayLike, scales: Sequence[float]
) -> jax.Array:
  """Computes the mean of the Gaussian kernels; one if the bandwidth is zero."""
  denominator = 2 * jnp.square(bandwidth)
  # With a bandwidth of zero all distances are zero.
  denominator = jnp.where(denominator > 0, denominator, 1)
  kernels = [jnp.exp(-squares / (denominator * scale)) for scale in scales]
  return sum(kernels[1:], kernels[0]) / len(kernels)


def _off_diagonal_mean(kernel: jax.Array) -> jax.Array:
  """Computes the mean over the pairs of different samples."""
  n = len(kernel)
  return (jnp.sum(kernel) - jnp.trace(kernel)) / (n * (n - 1))


def _directions(x: jax.Array) -> jax.Array:
  """Normalizes rows; a zero row stays zero and has zero gradient."""
  squares = jnp.sum(x**2, axis=1, keepdims=True)
  nonzero = squares > 0
  scale = jax.lax.rsqrt(jnp.where(nonzero, squares, 1))
  return jnp.where(nonzero, x * scale, 0)
