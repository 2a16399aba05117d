"""Bridges: their kinds, initial weights and layers."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import models
from kdjax.methods import Fcfd
from kdjax.methods.bridges import Side, make_bridge
from tests.methods import support

# Teacher, student and the resizing into the teacher's space, by stage.
SAME = ('same',) * 3
DOUBLE = ('double',) * 3
PUBLISHED = {
  ('resnet32x4', 'resnet8x4'): SAME,
  ('resnet56', 'resnet20'): SAME,
  ('wrn_40_2', 'wrn_16_2'): SAME,
  ('wrn_40_2', 'wrn_40_1'): SAME,
  ('vgg13', 'vgg8'): ('same',) * 4,
  ('resnet32x4', 'ShuffleV1'): DOUBLE,
  ('wrn_40_2', 'ShuffleV1'): DOUBLE,
  ('resnet32x4', 'ShuffleV2'): DOUBLE,
  ('vgg13', 'MobileNetV2'): (*SAME, 'double'),
  ('ResNet50', 'MobileNetV2'): ('double',) * 4,
  ('resnet32x4o', 'ShuffleV1'): DOUBLE,
  ('ResNet50o', 'MobileNetV2'): ('double',) * 4,
  ('imagenet_resnet34', 'imagenet_resnet18'): ('same',) * 4,
  ('imagenet_resnet50', 'imagenet_mobilenet_v1'): ('same',) * 4,
}


def _init_bridges(teacher, student):
  size = 224 if teacher.startswith('imagenet') else 32
  specs = [
    models.create(name, num_classes=10).describe((size, size, 3))
    for name in (student, teacher)
  ]
  drawn = jax.eval_shape(
    lambda key: Fcfd().init(key, *specs, support.DATA), jax.random.key(0)
  )
  return drawn, specs


def _resizing(bridge):
  if bridge['conv']['kernel'].shape[0] == 4:
    return 'double'
  return 'half' if 'bias' in bridge['conv'] else 'same'


@pytest.mark.parametrize(('pair', 'want'), PUBLISHED.items())
def test_bridges_of_every_published_pair(pair, want):
  drawn, (student, teacher) = _init_bridges(*pair)
  opposite = {'same': 'same', 'double': 'half'}
  for direction, network, resizing in (
    ('to_teacher', teacher, want),
    ('to_student', student, [opposite[resize] for resize in want]),
  ):
    bridges = drawn['params'][direction]
    assert list(bridges) == [f'stage_{i}' for i in range(1, len(want) + 1)]
    assert [_resizing(bridge) for bridge in bridges.values()] == [*resizing]
    widths = [bridge['norm']['scale'].shape[0] for bridge in bridges.values()]
    assert widths == [b.shape[-1] for b in network.features.boundaries[1:]]
    # Bridges between maps of equal size have no bias.
    assert all(
      ('bias' in bridge['conv']) == (resize != 'same')
      for bridge, resize in zip(bridges.values(), resizing)
    )


def test_bridges_have_as_many_weights_as_the_paper_s_code():
  drawn, _ = _init_bridges('resnet32x4', 'resnet8x4')
  for direction in ('to_teacher', 'to_student'):
    counts = [
      sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(bridge))
      for bridge in drawn['params'][direction].values()
    ]
    assert counts == [36992, 147712, 590336]


def _bridge(source, destination, boundary='post_relu'):
  bridge = make_bridge(
    2, Side('s', source, 'pre_relu'), Side('t', destination, boundary)
  )
  x = jax.random.normal(jax.random.key(1), (4, *source))

  @jax.jit
  def run(key):
    variables = bridge.init(key, x, train=False)
    y, _ = bridge.apply(variables, x, train=True, mutable=['batch_stats'])
    return y, variables['params']

  return run(jax.random.key(0))


@pytest.mark.parametrize(
  ('source', 'destination'),
  [
    ((8, 8, 6), (8, 8, 400)),
    ((8, 8, 6), (4, 4, 400)),
    ((4, 4, 6), (8, 8, 400)),
  ],
)
def test_initial_weights_of_bridges(source, destination):
  y, params = _bridge(source, destination)
  assert y.shape == (4, *destination)
  kernel = np.asarray(params['conv']['kernel'])
  if kernel.shape[0] == 4:
    bound = (400 * 16) ** -0.5
    assert 0.99 * bound < np.abs(kernel).max() <= bound
    assert np.std(kernel) == pytest.approx(bound / 3**0.5, rel=0.02)
  else:
    assert np.std(kernel) == pytest.approx((2 / (400 * 9)) ** 0.5, rel=0.02)
    bound = (6 * 9) ** -0.5
  if 'bias' in params['conv']:
    bias = np.abs(np.asarray(params['conv']['bias']))
    assert 0.95 * bound < bias.max() <= bound


def test_leaky_relu_follows_only_for_rectified_boundaries():
  after, _ = _bridge((4, 4, 3), (4, 4, 5))
  before, _ = _bridge((4, 4, 3), (4, 4, 5), 'pre_norm')
  np.testing.assert_allclose(
    after, jnp.where(before > 0, before, 0.1 * before), rtol=1e-6
  )
  assert np.any(np.asarray(before) < 0)


@pytest.mark.slow
@pytest.mark.parametrize(
  ('source', 'destination'),
  [
    ((17, 12), (8, 8, 5)),  # 4×4 patches and a class token to a larger map
    ((17, 12), (2, 2, 5)),
    ((16, 12), (4, 4, 5)),  # no class token
    ((8, 8, 5), (17, 12)),
    ((2, 2, 5), (16, 12)),
    ((17, 12), (17, 6)),
  ],
)
def test_bridges_between_tokens_and_maps(source, destination):
  y, _ = _bridge(source, destination, 'pre_norm')
  assert y.shape == (4, *destination)
  assert np.all(np.isfinite(y))


def test_patch_keeps_its_position():
  # Only one patch differs: only the map around its position may differ.
  bridge = make_bridge(
    1, Side('s', (17, 3), 'pre_norm'), Side('t', (8, 8, 2), 'pre_norm')
  )
  x = jnp.zeros((1, 17, 3))
  variables = bridge.init(jax.random.key(0), x, train=False)
  y = bridge.apply(variables, x.at[0, 1 + 4 * 2 + 3].set(1.0), train=False)
  moved = np.argwhere(np.abs(np.asarray(y[0])).sum(-1) > 1e-6)
  # Patch (2, 3) covers rows 4-5 and columns 6-7; a 3×3 kernel adds one around.
  np.testing.assert_array_equal(moved.min(0), [3, 5])
  np.testing.assert_array_equal(moved.max(0), [6, 7])


@pytest.mark.parametrize(
  ('source', 'destination'),
  [
    ((8, 8, 4), (3, 3, 4)),
    ((8, 8, 4), (2, 2, 4)),
    ((7, 5, 4), (14, 5, 4)),
    ((18, 4), (4, 4, 4)),
    ((17, 4), (6, 6, 4)),
    ((12,), (4, 4, 4)),
  ],
)
def test_unsupported_shapes_raise_an_error_with_stage_and_shapes(
  source, destination
):
  with pytest.raises(ValueError, match='stage 2') as caught:
    _bridge(source, destination)
  assert str(source) in str(caught.value)
  assert str(destination) in str(caught.value)
