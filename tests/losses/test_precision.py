"""bfloat16 comes in, and nothing is computed with it: every public loss.

Read from the traced programs of values and gradients. Of a gradient the last
rounding, to what came in, is all that may be narrow.
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


def _per_class(distance, student, teacher):
  return distance(student, teacher, LABELS, 4)


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
    name: (functools.partial(_per_class, getattr(losses, name)), (ROWS, ROWS))
    for name in losses.__all__
    if name.endswith('_per_class')
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
# Solvers, windows and draws, which take what the losses have made wide; and
# what only rearranges, or hands its arrays to a loss that is given.
OTHERS = {
  'AGGREGATIONS',
  'Assignment',
  'EXTENTS',
  'LABEL_COSTS',
  'SsimComponents',
  'SsimSettings',
  'auction_assignment',
  'class_conditional',
  'draw_hashes',
  'exact_assignment',
  'full_precision',
  'gaussian_window',
  'judged_locations',
  'matmul',
  'mean_over_locations',
  'neighborhoods',
  'over_samples',
  'polar_newton_schulz',
  'polar_svd',
  'transport_plan',
  'wasserstein2_gap',
  'window_means',
  'window_means_by_products',
  'window_means_by_shifts',
}


@pytest.mark.parametrize('name', CASES)
def test_nothing_is_computed_with_bfloat16(name):
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
  listed = {name for name in CASES if not name.startswith('label cost')}
  assert listed | OTHERS == set(losses.__all__)
  assert not listed & OTHERS


def test_the_reader_finds_what_is_narrow():
  assert narrow(lambda x: x @ x.T, ROWS) == {'dot_general'}
  assert 'mul' in narrow(jax.jit(lambda x: jnp.sum(x * x)), ROWS)
