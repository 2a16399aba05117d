"""ImageNet networks, ViTs and their images against torchvision's numbers.

Weights and images are formulas, so that a file of a network has some hundred
bytes; `make_imagenet_networks` makes all of them.
"""

import pathlib
import zlib

import numpy as np
import pytest

from kdjax import models
from tests.golden import hashed, runner
from tests.golden.kinds import imagenet_networks, preprocessing

pytestmark = pytest.mark.usefixtures('hasty_compiler')

_VALUES = pathlib.Path(__file__).parent / 'values'
_NETWORKS = sorted(_VALUES.glob('imagenet_networks/*.npz'))
_VIEWS = _VALUES / 'preprocessing/torchvision.npz'
# One of every kind of block; the others have more or wider blocks.
_FAST = (
  *('imagenet_resnet50', 'imagenet_mobilenet_v1', 'imagenet_mobilenet_v2'),
  'vit_tiny_patch16',
)


@pytest.mark.parametrize(
  'path',
  [
    pytest.param(
      path,
      id=path.stem,
      marks=() if path.stem in _FAST else pytest.mark.slow,
    )
    for path in _NETWORKS
  ],
)
def test_network(path):
  results = imagenet_networks.check(path)
  assert len(results) == 8
  assert [r for r in results if not r.passed] == []


def test_every_imagenet_network_and_vit_has_a_file():
  wanted = [n for n in models.NETWORKS if n.startswith(('imagenet_', 'vit_'))]
  assert [path.stem for path in _NETWORKS] == sorted(wanted)


def test_evaluation_views_are_torchvisions_pixel_by_pixel():
  results = preprocessing.check(_VIEWS)
  assert len(results) == 19
  assert [r for r in results if not r.passed] == []


def test_unknown_network_is_nobodys_case(tmp_path):
  assert imagenet_networks.check(tmp_path / 'imagenet_alexnet.npz') == []


@pytest.mark.parametrize('path', [*_NETWORKS, _VIEWS], ids=lambda p: p.stem)
def test_the_runner_knows_the_kind(path, tmp_path):
  assert runner.kind_of(path) == path.parent.name
  copy = tmp_path / path.name
  copy.write_bytes(path.read_bytes())
  assert runner.kind_of(copy) == path.parent.name


def test_the_formula_gives_the_same_numbers_everywhere():
  # Worked out with Python's integers.
  def entry(name, index):
    value = (zlib.crc32(name.encode()) + index) % 2**32
    value ^= value >> 16
    value = value * 0x85EBCA6B % 2**32
    value ^= value >> 13
    value = value * 0xC2B2AE35 % 2**32
    value ^= value >> 16
    return (value >> 8) / 2**23 - 1

  got = hashed.uniform('layer1.0.conv1.weight', (2, 3))
  want = [entry('layer1.0.conv1.weight', i) for i in range(6)]
  np.testing.assert_array_equal(got.ravel(), want)
  many = hashed.uniform('x', (100_000,))
  np.testing.assert_allclose(many.mean(), 0, atol=0.01)
  np.testing.assert_allclose(many.std(), 3**-0.5, rtol=0.01)
