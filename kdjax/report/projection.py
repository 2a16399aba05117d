"""Projection of embeddings onto a plane, and alignment of two spaces."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plane:
  """Plane of the two largest principal components.

  Attributes:
    mean: `[D]`.
    basis: `[D, 2]`, orthonormal columns.
    shares: `[2]`, fractions of the total variance.
  """

  mean: np.ndarray
  basis: np.ndarray
  shares: np.ndarray

  def project(self, embedding: np.ndarray) -> np.ndarray:
    """Returns coordinates `[N, 2]` of embeddings `[N, D]`."""
    return (embedding - self.mean) @ self.basis


def principal_plane(embedding: np.ndarray) -> Plane:
  """Computes the two largest principal components, in float64.

  The sign of each axis is chosen so that its largest entry is positive, which
  makes the plot reproducible.

  Args:
    embedding: `[N, D]`.

  Returns:
    The plane; with `D` = 1 the second axis is zero.
  """
  embedding = np.asarray(embedding, np.float64)
  mean = embedding.mean(axis=0)
  _, singular_values, axes = np.linalg.svd(
    embedding - mean, full_matrices=False
  )
  basis, variances = np.zeros((embedding.shape[1], 2)), np.zeros(2)
  count = min(2, len(axes))
  basis[:, :count] = axes[:count].T
  variances[:count] = singular_values[:count] ** 2
  largest = np.take_along_axis(
    basis, np.abs(basis).argmax(axis=0, keepdims=True), axis=0
  )
  basis *= np.where(largest < 0, -1.0, 1.0)
  total = np.square(singular_values).sum()
  shares = variances / total if total > 0 else variances
  return Plane(mean=mean, basis=basis, shares=shares)


def align(embedding: np.ndarray, reference: np.ndarray) -> np.ndarray:
  r"""Aligns embeddings to those of the same images in another space.

  Both are centered. The orthogonal Procrustes solution is the map :math:`Q`
  with orthonormal rows (or columns, if :math:`d > D`) that minimizes
  :math:`\lVert X Q - Y \rVert_F`, which is :math:`U V^\top` of
  :math:`X^\top Y = U \Sigma V^\top`: it rotates and reflects and, for
  :math:`d \le D`, preserves all distances. The scale then gives both the same
  root mean square norm. The scale of least error would shrink embeddings that
  are unrelated to the reference to a point.

  Args:
    embedding: :math:`X`, `[N, d]`.
    reference: :math:`Y`, `[N, D]`.

  Returns:
    The embeddings in the reference's space, `[N, D]`, with its mean.
  """
  mean = reference.mean(axis=0)
  source, target = embedding - embedding.mean(axis=0), reference - mean
  left, _, right = np.linalg.svd(source.T @ target, full_matrices=False)
  rotated = source @ (left @ right)
  norm = np.linalg.norm(rotated)
  scale = np.linalg.norm(target) / norm if norm > 0 else 1.0
  return mean + scale * rotated
