"""Clouds of features in one space and on one plane."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plane:
  """The plane of a cloud's two largest variances."""

  mean: np.ndarray  # [D]
  basis: np.ndarray  # [D, 2], orthonormal columns
  shares: np.ndarray  # [2], of the cloud's whole variance

  def project(self, cloud: np.ndarray) -> np.ndarray:
    """Coordinates `[N, 2]` of a cloud `[N, D]` of the same width."""
    return (cloud - self.mean) @ self.basis


def principal_plane(cloud: np.ndarray) -> Plane:
  """Principal components of a cloud `[N, D]`, in float64.

  Each axis points where its largest entry is positive, so that the same cloud
  is drawn the same way up. A cloud of width one has a second axis of zeros.
  """
  cloud = np.asarray(cloud, np.float64)
  mean = cloud.mean(axis=0)
  _, sizes, axes = np.linalg.svd(cloud - mean, full_matrices=False)
  basis, variances = np.zeros((cloud.shape[1], 2)), np.zeros(2)
  count = min(2, len(axes))
  basis[:, :count] = axes[:count].T
  variances[:count] = sizes[:count] ** 2
  largest = np.take_along_axis(
    basis, np.abs(basis).argmax(axis=0, keepdims=True), axis=0
  )
  basis *= np.where(largest < 0, -1.0, 1.0)
  whole = np.square(sizes).sum()
  shares = variances / whole if whole > 0 else variances
  return Plane(mean=mean, basis=basis, shares=shares)


def align(cloud: np.ndarray, reference: np.ndarray) -> np.ndarray:
  r"""Lays a cloud over another of the same images but of another width.

  Both are centred. The orthogonal Procrustes solution is the map :math:`Q`
  with orthonormal rows (or columns, from the wider to the narrower) that
  minimises :math:`\lVert X Q - Y \rVert_F`, which is :math:`U V^\top` of
  :math:`X^\top Y = U \Sigma V^\top`: it turns and reflects and, into a wider
  space, keeps all distances. The scale then makes the two of one root mean
  square size, rather than of least error: that would shrink a cloud that has
  nothing in common with the other to a point.

  Args:
    cloud: :math:`X`, `[N, d]`.
    reference: :math:`Y`, `[N, D]`.

  Returns:
    The cloud in the reference's space, `[N, D]`, around its mean.
  """
  mean = reference.mean(axis=0)
  centred, wanted = cloud - cloud.mean(axis=0), reference - mean
  left, _, right = np.linalg.svd(centred.T @ wanted, full_matrices=False)
  turned = centred @ (left @ right)
  size = np.linalg.norm(turned)
  scale = np.linalg.norm(wanted) / size if size > 0 else 1.0
  return mean + scale * turned
