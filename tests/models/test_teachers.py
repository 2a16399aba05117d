"""Networks trained elsewhere see real images as they did there."""

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
  """How many of the first `count` test images of CIFAR-100 it gets right."""
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

  found = [predict(part) for part in np.split(images, count // 500)]
  return int((np.concatenate(found) == labels).sum())


@needs_shared
@pytest.mark.slow
def test_all_test_images_as_published():
  name = 'cifar100_resnet8'
  network = models.create(name, num_classes=100, mean=_MEAN, std=_STD)
  assert _correct(network, name, 10_000) == 6411


@needs_shared
@pytest.mark.slow
def test_a_relu_after_each_block_would_ruin_it():
  name = 'cifar100_resnet20'
  create = functools.partial(
    ResNet, num_classes=100, blocks=(3, 3, 3), stem_width=64, pool=4
  )
  found = {
    between: _correct(
      models.linen_network(
        create(relu_between=between), name=name, mean=_MEAN, std=_STD
      ),
      name,
      500,
    )
    for between in (False, True)
  }
  assert found[False] > 0.65 * 500
  assert found[True] < 0.15 * 500
