"""Published weights have their published accuracy on real images."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import models
from kdjax.convert.torch import layout as torch_layout
from kdjax.convert.torch import names
from kdjax.models.resnet import ResNet
from tests import cifar
from tests.shared import SHARED, needs_shared

_MEAN, _STD = (0.507, 0.487, 0.441), (0.267, 0.256, 0.276)


def _correct(network: models.Network, name: str, count: int) -> int:
  """Counts correct predictions of the first `count` CIFAR-100 test images."""
  data = SHARED / 'data'
  with np.load(data / 'teachers' / f'{name}.npz') as arrays:
    variables = torch_layout.from_torch(
      arrays, network.describe((32, 32, 3)).variables, names.rules_of(name)
    )
  images = cifar.tiles(data / 'cifar100' / 'test.webp')[:count]
  labels = np.load(data / 'cifar100' / 'labels.npz')['test_labels'][:count]

  @jax.jit
  def predict(images):
    images = images.astype(jnp.float32) / 255
    features, _ = network.apply(variables, images, train=False)
    return features.logits.argmax(-1)

  counts = [predict(part) for part in np.split(images, count // 500)]
  return int((np.concatenate(counts) == labels).sum())


@needs_shared
@pytest.mark.slow
def test_accuracy_is_that_published():
  name = 'cifar100_resnet8'
  network = models.create(name, num_classes=100, mean=_MEAN, std=_STD)
  assert _correct(network, name, 10_000) == 6411


@needs_shared
@pytest.mark.slow
def test_relu_between_blocks_reduces_the_accuracy_to_chance():
  name = 'cifar100_resnet20'
  create = functools.partial(
    ResNet, num_classes=100, blocks=(3, 3, 3), stem_width=64, pool=4
  )
  counts = {
    between: _correct(
      models.linen_network(
        create(relu_between=between), name=name, mean=_MEAN, std=_STD
      ),
      name,
      500,
    )
    for between in (False, True)
  }
  assert counts[False] > 0.65 * 500
  assert counts[True] < 0.15 * 500
