"""Constants that published weights were trained with."""

import pytest

from kdjax.convert.normalization import Normalization, normalization

_DATASET = Normalization((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
_IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALVES = Normalization((0.5,) * 3, (0.5,) * 3)


@pytest.mark.parametrize(
  ('network', 'want'),
  [
    ('vit_tiny_patch16', _HALVES),  # timm's augreg weights: [-1, 1]
    ('vit_base_patch16', _HALVES),
    ('imagenet_resnet50', _IMAGENET),
    ('imagenet_mobilenet_v2', _IMAGENET),
    ('cifar10_resnet20', _IMAGENET),
    ('resnet8x4', _DATASET),
    (
      'cifar100_resnet20',
      Normalization((0.507, 0.487, 0.441), (0.267, 0.256, 0.276)),
    ),
  ],
)
def test_published_weights_have_the_constants_of_their_training(network, want):
  path = 'weights.safetensors'  # without metadata: it is not there
  assert normalization(path, network, default=_DATASET) == want
  # Networks that are trained here have those of the dataset.
  assert normalization(None, network, default=_DATASET) == _DATASET


def test_constants_of_the_command_come_first():
  got = normalization(
    'weights.safetensors',
    'vit_tiny_patch16',
    default=_DATASET,
    mean=_IMAGENET.mean,
    std=_IMAGENET.std,
  )
  assert got == _IMAGENET
