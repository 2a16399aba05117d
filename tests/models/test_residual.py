"""Parts of networks that move numbers and compute nothing."""

import jax.numpy as jnp
import numpy as np

from kdjax import models
from kdjax.models import resnet, shufflenet


def test_a_padded_shortcut_has_zeros_on_both_sides():
  x = jnp.arange(1.0, 33.0).reshape(1, 4, 4, 2)
  got = resnet._padded(x, 6, 2)
  assert got.shape == (1, 2, 2, 6)
  np.testing.assert_array_equal(got[..., 2:4], x[:, ::2, ::2])
  np.testing.assert_array_equal(got[..., :2], 0)
  np.testing.assert_array_equal(got[..., 4:], 0)


def test_windows_are_flattened_channels_first():
  # Two windows of four by four pixels: of channel c they hold c and c + 10.
  network = resnet.ResNet(num_classes=2, blocks=(1,), widths=(3,), pool=4)
  channels = jnp.arange(3.0)
  hidden = jnp.concatenate(
    [jnp.tile(channels + add, (1, 4, 4, 1)) for add in (0, 10)], axis=2
  )
  got = network.embed(hidden)
  np.testing.assert_array_equal(got, [[0, 10, 1, 11, 2, 12]])


def test_neighboring_channels_come_from_different_groups():
  got = shufflenet.shuffle(jnp.arange(6)[None], groups=3)
  np.testing.assert_array_equal(got, [[0, 2, 4, 1, 3, 5]])


def test_images_are_centered_and_divided_by_channel():
  network = models.create(
    'convnet_4_8', num_classes=2, mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 2.0)
  )
  got = network.normalize(jnp.full((1, 1, 1, 3), 0.75))
  np.testing.assert_allclose(got[0, 0, 0], [0.5, 2.0, 0.375], rtol=1e-6)
