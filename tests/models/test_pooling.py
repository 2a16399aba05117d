import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import models

IMAGES = jax.random.uniform(jax.random.key(0), (2, 8, 8, 3))


@pytest.mark.parametrize(
  ('pooling', 'share_of_max'), [('gap', 0), ('gmp', 1), ('gwp', 0.5)]
)
def test_embedding_is_mean_maximum_or_average_of_both(pooling, share_of_max):
  network = models.create('convnet_4_8', num_classes=3, pooling=pooling)
  variables = network.initialize(jax.random.key(1), IMAGES.shape[1:])
  features, _ = network.apply(variables, IMAGES, train=False)
  last = features.stages[-1]
  want = (1 - share_of_max) * last.mean((1, 2)) + share_of_max * last.max(
    (1, 2)
  )
  np.testing.assert_allclose(features.embedding, want, rtol=1e-5)
  assert jnp.ptp(want) > 0


def test_pooling_setting_replaces_pooling_windows():
  own, whole = (
    models.create('cifar100_resnet8', num_classes=3, pooling=pooling)
    .describe((32, 48, 3))
    .features.embedding.shape[-1]
    for pooling in (None, 'gap')
  )
  assert (own, whole) == (64 * 2 * 3, 64)


def test_unsupported_pooling_raises_an_error():
  with pytest.raises(ValueError, match="did you mean 'gmp'"):
    models.create('resnet8', num_classes=3, pooling='gm')
  with pytest.raises(ValueError, match='has no pooling'):
    models.create('vit_tiny_patch16', num_classes=3, pooling='gmp')
