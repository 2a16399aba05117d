"""No public loss computes in bfloat16 if its inputs are bfloat16.

Checked on the traced programs of values and gradients. Only the final rounding
of a gradient, to the dtype of the input, may be narrow.
"""

import functools

import jax
import jax.numpy as jnp
import pytest

from kdjax import losses
from tests.arithmetic import narrow

ROWS = jnp.zeros((6, 4), jnp.bfloat16)
MAPS = jnp.zeros((2, 8, 8, 3), jnp.bfloat16)
LABELS = jnp.array([0, 1, 2, 0, 1, 3])
HASHES = jnp.zeros((4, 5)), jnp.zeros(5)


def _per_class(name):
  """Returns the per-class distances `[4]` as a function of two batches."""
  return lambda student, teacher: losses.per_class(
    getattr(losses, name), student, teacher, LABELS, 4, aggregation=None
  )


CLOUDS = (
  'direction_squared_error',
  'gaussian_jeffreys',
  'gaussian_jeffreys_full',
  'gaussian_kl',
  'gaussian_kl_full',
  'gaussian_wasserstein2',
  'gaussian_wasserstein2_full',
  'mean_absolute_error',
  'mean_distance',
  'mean_squared_error',
  'mmd_cosine',
  'mmd_linear',
  'mmd_rbf',
  'paired_distance',
  'sinkhorn_cost',
  'sinkhorn_divergence',
  'sinkhorn_regularized',
  'soft_target_kl',
  'wasserstein2',
)
PER_CLASS = (
  'gaussian_jeffreys',
  'gaussian_jeffreys_full',
  'gaussian_kl',
  'gaussian_kl_full',
  'gaussian_wasserstein2',
  'gaussian_wasserstein2_full',
  'mmd_cosine',
  'mmd_linear',
  'mmd_rbf',
  'wasserstein2',
)
IMAGES = (
  'spatial_gaussian_wasserstein2',
  'ssim',
  'ssim_components',
  'ssim_map',
)
HASHED = ('lsh', 'lsh_absolute', 'lsh_squared')
CASES = {
  **{name: (getattr(losses, name), (ROWS, ROWS)) for name in CLOUDS},
  **{name: (getattr(losses, name), (MAPS, MAPS)) for name in IMAGES},
  **{name: (getattr(losses, name), (ROWS, ROWS, *HASHES)) for name in HASHED},
  **{
    f'per_class of {name}': (_per_class(name), (ROWS, ROWS))
    for name in PER_CLASS
  },
  **{
    name: (functools.partial(getattr(losses, name), scale=2.0), (ROWS, ROWS))
    for name in ('icd', 'icd_logits')
  },
  **{
    f'label cost {name}': (lambda x, y, f=f: f(x, y, LABELS), (ROWS, ROWS))
    for name, f in losses.LABEL_COSTS.items()
  },
  'cross_entropy': (losses.cross_entropy, (ROWS, LABELS % 4)),
  'sigmoid_cross_entropy': (
    losses.sigmoid_cross_entropy,
    (ROWS, LABELS[:, None] % jnp.full(4, 2)),
  ),
  'hash_values': (losses.hash_values, (ROWS, *HASHES)),
  'joint_wasserstein2': (
    losses.joint_wasserstein2,
    (ROWS, ROWS, jnp.zeros((6, 6))),
  ),
  'min_max_rescale': (losses.min_max_rescale, (MAPS,)),
  'total_variance': (losses.total_variance, (ROWS,)),
}
# Solvers, windows and draws, whose inputs the losses have promoted, and
# functions that only rearrange arrays or pass them to a given loss.
OTHERS = {
  'AGGREGATIONS',
  'Assignment',
  'EXTENTS',
  'LABEL_COSTS',
  'SsimComponents',
  'SsimSettings',
  'auction_assignment',
  'draw_hashes',
  'exact_assignment',
  'gaussian_window',
  'valid_locations',
  'mean_over_locations',
  'neighborhoods',
  'over_samples',
  'per_class',
  'polar_newton_schulz',
  'polar_svd',
  'transport_plan',
  'wasserstein2_gap',
  'window_means',
  'window_means_by_products',
  'window_means_by_shifts',
}


@pytest.mark.parametrize('name', CASES)
def test_no_loss_computes_in_bfloat16(name):
  function, arguments = CASES[name]

  def slope(x, *rest):
    def total(x):
      return sum(leaf.sum() for leaf in jax.tree.leaves(function(x, *rest)))

    return jax.value_and_grad(total)(x)

  assert narrow(slope, *arguments) == set()
  value, gradient = jax.eval_shape(slope, *arguments)
  assert value.dtype == jnp.float32
  assert gradient.dtype == jnp.bfloat16


def test_every_loss_is_listed():
  listed = {name for name in CASES if name in losses.__all__}
  assert listed | OTHERS == set(losses.__all__)
  assert not listed & OTHERS


def test_bfloat16_primitives_are_detected():
  assert narrow(lambda x: x @ x.T, ROWS) == {'dot_general'}
  assert 'mul' in narrow(jax.jit(lambda x: jnp.sum(x * x)), ROWS)
