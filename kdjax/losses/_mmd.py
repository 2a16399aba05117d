"""Squared maximum mean discrepancies."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from kdjax.losses._classes import class_means, labelled
from kdjax.losses.numerics import clouds, matmul
from kdjax.losses.transport.cost import (
  row_distances,
  self_distances,
  squared_distances,
)


def mmd_linear(student: jax.Array, teacher: jax.Array) -> jax.Array:
  r"""Squared discrepancy under the linear kernel: that of the means.

  .. math::
    \lVert \mu_X - \mu_Y \rVert^2

  Args:
    student: :math:`X`, float `[n, d]`.
    teacher: :math:`Y`, float `[m, d]`.

  Returns:
    A scalar, squared, summed over the width.

  Raises:
    ValueError: If the widths differ or a batch is empty.
  """
  student, teacher = clouds('mmd_linear', student, teacher)
  return jnp.sum((jnp.mean(student, axis=0) - jnp.mean(teacher, axis=0)) ** 2)


def mmd_linear_per_class(
  student: jax.Array, teacher: jax.Array, labels: jax.Array, classes: int
) -> jax.Array:
  """`mmd_linear` between the samples of each class.

  Args:
    student: Float `[n, d]`.
    teacher: Float `[n, d]`, of the same images.
    labels: Integer `[n]`.
    classes: How many there are.

  Returns:
    `[classes]`; zero for a class without samples.

  Raises:
    ValueError: If shapes do not belong together.
  """
  student, teacher, member = labelled(
    'mmd_linear_per_class', student, teacher, labels, classes
  )
  return row_distances(
    class_means(student, member), class_means(teacher, member)
  )


def mmd_rbf(
  student: jax.Array,
  teacher: jax.Array,
  *,
  bandwidth: jax.typing.ArrayLike | None = None,
  scales: Sequence[float] = (1.0,),
  unbiased: bool = False,
) -> jax.Array:
  r"""Squared discrepancy under Gaussian kernels.

  With :math:`k(a, b) = \exp(-\lVert a - b \rVert^2 / 2 \sigma^2)`,

  .. math::
    \overline{k(X, X)} + \overline{k(Y, Y)} - 2 \, \overline{k(X, Y)} ,

  means over all pairs, or without the pairs of a sample with itself, which
  removes the bias and lets the value fall below zero.

  Args:
    student: :math:`X`, float `[n, d]`.
    teacher: :math:`Y`, float `[m, d]`.
    bandwidth: :math:`\sigma`. By default the mean distance over the pairs XX,
      YY and XY together, zero diagonals counted, held fixed in the gradient.
    scales: Factors on :math:`\sigma^2`; the kernels are averaged. Several
      scales are usually 1/4, 1/2, 1, 2 and 4.
    unbiased: Leaves out the diagonals; a batch then needs two samples.

  Returns:
    A scalar, squared, between 0 and 2 unless unbiased.

  Raises:
    ValueError: If the widths differ or a batch is too small.
  """
  student, teacher = clouds('mmd_rbf', student, teacher)
  if unbiased and min(len(student), len(teacher)) < 2:
    raise ValueError(
      'The unbiased discrepancy needs two samples of each network, got '
      f'{len(student)} and {len(teacher)}.'
    )
  blocks = _blocks(student, teacher)
  if bandwidth is None:
    bandwidth = _mean_distance(blocks)
  xx, yy, xy = (_kernel(block, bandwidth, scales) for block in blocks)
  if not unbiased:
    return jnp.mean(xx) + jnp.mean(yy) - 2 * jnp.mean(xy)
  return _off_diagonal(xx) + _off_diagonal(yy) - 2 * jnp.mean(xy)


def mean_distance(student: jax.Array, teacher: jax.Array) -> jax.Array:
  """The default bandwidth of `mmd_rbf`: mean distance of all pairs.

  Args:
    student: Float `[n, d]`.
    teacher: Float `[m, d]`.

  Returns:
    A scalar, not squared, without gradient: over the n² + m² + nm pairs XX, YY
    and XY.

  Raises:
    ValueError: If the widths differ or a batch is empty.
  """
  return _mean_distance(_blocks(*clouds('mean_distance', student, teacher)))


def mmd_rbf_per_class(
  student: jax.Array,
  teacher: jax.Array,
  labels: jax.Array,
  classes: int,
  *,
  scales: Sequence[float] = (1.0,),
) -> jax.Array:
  """`mmd_rbf` (biased) between the samples of each class.

  Each class has its own bandwidth, the mean distance within it.

  Args:
    student: Float `[n, d]`.
    teacher: Float `[n, d]`, of the same images.
    labels: Integer `[n]`.
    classes: How many there are.
    scales: See `mmd_rbf`.

  Returns:
    `[classes]`; zero for a class without samples.

  Raises:
    ValueError: If shapes do not belong together.
  """
  student, teacher, member = labelled(
    'mmd_rbf_per_class', student, teacher, labels, classes
  )
  blocks = _blocks(student, teacher)

  distances = [_pair_means(_distances(block), member) for block in blocks]
  bandwidth = jnp.mean(jnp.stack(distances), axis=0)
  bandwidth = matmul(member, bandwidth)[:, None]
  xx, yy, xy = (
    _pair_means(_kernel(block, bandwidth, scales), member) for block in blocks
  )
  return xx + yy - 2 * xy


def mmd_cosine(student: jax.Array, teacher: jax.Array) -> jax.Array:
  r"""Squared discrepancy under the squared-cosine kernel.

  The kernel is :math:`k(a, b) = (a \cdot b / \lVert a \rVert
  \lVert b \rVert)^2`; a zero vector has :math:`k = 0` with everything. All
  pairs count (biased). Neuron selectivity transfer is this between channels.

  Args:
    student: Float `[n, d]`.
    teacher: Float `[m, d]`.

  Returns:
    A scalar, squared, between 0 and 2.

  Raises:
    ValueError: If the widths differ or a batch is empty.

  References:
    Huang and Wang, `Like What You Like: Knowledge Distill via Neuron
    Selectivity Transfer <https://arxiv.org/abs/1707.01219>`_, 2017.
  """
  student, teacher = clouds('mmd_cosine', student, teacher)
  xx, yy, xy = map(jnp.mean, _squared_cosines(student, teacher))
  return xx + yy - 2 * xy


def mmd_cosine_per_class(
  student: jax.Array, teacher: jax.Array, labels: jax.Array, classes: int
) -> jax.Array:
  """`mmd_cosine` between the samples of each class.

  Args:
    student: Float `[n, d]`.
    teacher: Float `[n, d]`, of the same images.
    labels: Integer `[n]`.
    classes: How many there are.

  Returns:
    `[classes]`; zero for a class without samples.

  Raises:
    ValueError: If shapes do not belong together.
  """
  student, teacher, member = labelled(
    'mmd_cosine_per_class', student, teacher, labels, classes
  )
  blocks = _squared_cosines(student, teacher)
  xx, yy, xy = (_pair_means(block, member) for block in blocks)
  return xx + yy - 2 * xy


def _pair_means(block: jax.Array, member: jax.Array) -> jax.Array:
  """Mean of a block `[n, n]` over the pairs within each class."""
  pairs = jnp.sum(matmul(block, member) * member, axis=1)
  counts = jnp.maximum(jnp.sum(member, axis=0), 1)
  return class_means(pairs, member) / counts


def _squared_cosines(x: jax.Array, y: jax.Array) -> tuple[jax.Array, ...]:
  """Squared cosines within X, within Y and between them."""
  x, y = _directions(x), _directions(y)
  xx, yy, xy = (matmul(a, b.T) ** 2 for a, b in ((x, x), (y, y), (x, y)))
  return xx, yy, xy


def _blocks(x: jax.Array, y: jax.Array) -> tuple[jax.Array, ...]:
  """Squared distances within X, within Y and between them."""
  return self_distances(x), self_distances(y), squared_distances(x, y)


def _mean_distance(blocks: tuple[jax.Array, ...]) -> jax.Array:
  """Over all the pairs of all blocks."""
  every = jnp.concatenate([_distances(block).ravel() for block in blocks])
  return jnp.mean(every)


def _distances(squares: jax.Array) -> jax.Array:
  """Distances, without gradient: that of a root is infinite at zero."""
  return jnp.sqrt(jax.lax.stop_gradient(squares))


def _kernel(
  squares: jax.Array, bandwidth: jax.typing.ArrayLike, scales: Sequence[float]
) -> jax.Array:
  """Mean of the Gaussian kernels; one everywhere if the bandwidth is zero."""
  doubled = 2 * jnp.square(bandwidth)
  doubled = jnp.where(doubled > 0, doubled, 1)  # then all distances are zero
  kernels = [jnp.exp(-squares / (doubled * scale)) for scale in scales]
  return sum(kernels[1:], kernels[0]) / len(kernels)


def _off_diagonal(kernel: jax.Array) -> jax.Array:
  """Mean over the pairs of different samples."""
  n = len(kernel)
  return (jnp.sum(kernel) - jnp.trace(kernel)) / (n * (n - 1))


def _directions(x: jax.Array) -> jax.Array:
  """Rows of norm one; a zero row stays zero, with a gradient of zero."""
  squares = jnp.sum(x**2, axis=1, keepdims=True)
  there = squares > 0
  return jnp.where(there, x * jax.lax.rsqrt(jnp.where(there, squares, 1)), 0)
