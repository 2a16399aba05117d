"""Losses: arrays in; one value per example or per pair of batches out."""

from kdjax.losses._bures import (
  gaussian_wasserstein2_full,
  polar_newton_schulz,
  polar_svd,
)
from kdjax.losses._features import (
  direction_squared_error,
  mean_absolute_error,
  mean_squared_error,
)
from kdjax.losses._gaussian import (
  gaussian_jeffreys,
  gaussian_kl,
  gaussian_wasserstein2,
)
from kdjax.losses._gaussian_full import (
  gaussian_jeffreys_full,
  gaussian_kl_full,
)
from kdjax.losses._icd import icd, icd_logits
from kdjax.losses._locations import (
  mean_over_locations,
  neighborhoods,
  valid_locations,
)
from kdjax.losses._logits import cross_entropy, soft_target_kl
from kdjax.losses._lsh import (
  draw_hashes,
  hash_values,
  lsh,
  lsh_absolute,
  lsh_squared,
)
from kdjax.losses._mmd import (
  mean_distance,
  mmd_cosine,
  mmd_linear,
  mmd_rbf,
)
from kdjax.losses._moments import total_variance
from kdjax.losses._multilabel import sigmoid_cross_entropy
from kdjax.losses._per_class import AGGREGATIONS, per_class
from kdjax.losses._rescale import EXTENTS, min_max_rescale
from kdjax.losses._samples import over_samples, spatial_gaussian_wasserstein2
from kdjax.losses._ssim import (
  SsimComponents,
  SsimSettings,
  ssim,
  ssim_components,
  ssim_map,
)
from kdjax.losses._windows import (
  gaussian_window,
  window_means,
  window_means_by_products,
  window_means_by_shifts,
)
from kdjax.losses.transport.assignment import Assignment, exact_assignment
from kdjax.losses.transport.auction import auction_assignment
from kdjax.losses.transport.cost import paired_distance
from kdjax.losses.transport.joint import LABEL_COSTS, joint_wasserstein2
from kdjax.losses.transport.sinkhorn import (
  sinkhorn_cost,
  sinkhorn_divergence,
  sinkhorn_regularized,
)
from kdjax.losses.transport.transportation import transport_plan
from kdjax.losses.transport.wasserstein import (
  wasserstein2,
  wasserstein2_gap,
)

__all__ = [
  'AGGREGATIONS',
  'Assignment',
  'EXTENTS',
  'LABEL_COSTS',
  'SsimComponents',
  'SsimSettings',
  'auction_assignment',
  'cross_entropy',
  'direction_squared_error',
  'draw_hashes',
  'exact_assignment',
  'gaussian_jeffreys',
  'gaussian_jeffreys_full',
  'gaussian_kl',
  'gaussian_kl_full',
  'gaussian_wasserstein2',
  'gaussian_wasserstein2_full',
  'gaussian_window',
  'hash_values',
  'icd',
  'icd_logits',
  'joint_wasserstein2',
  'valid_locations',
  'lsh',
  'lsh_absolute',
  'lsh_squared',
  'mean_absolute_error',
  'mean_distance',
  'mean_over_locations',
  'mean_squared_error',
  'min_max_rescale',
  'mmd_cosine',
  'mmd_linear',
  'mmd_rbf',
  'neighborhoods',
  'over_samples',
  'paired_distance',
  'per_class',
  'polar_newton_schulz',
  'polar_svd',
  'sigmoid_cross_entropy',
  'sinkhorn_cost',
  'sinkhorn_divergence',
  'sinkhorn_regularized',
  'soft_target_kl',
  'spatial_gaussian_wasserstein2',
  'ssim',
  'ssim_components',
  'ssim_map',
  'total_variance',
  'transport_plan',
  'wasserstein2',
  'wasserstein2_gap',
  'window_means',
  'window_means_by_products',
  'window_means_by_shifts',
]
