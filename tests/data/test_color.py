import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance

from kdjax.data.color import ColorJitter, jitter

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 6, 5, 3), np.uint8)
PILLOW = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
NONE = ColorJitter(flip=False, brightness=0, contrast=0, saturation=0)


def views(augment, key, images):
  return augment(key, {'image': images})['image']


def test_every_order_matches_pillow_up_to_rounding():
  factors = (0.8, 1.25, 0.7)
  run = jax.jit(jitter)
  for order in itertools.permutations(range(3)):
    want = Image.fromarray(IMAGES[0])
    for step in order:
      want = PILLOW[step](want).enhance(factors[step])
    got = run(IMAGES[0] / 255, jnp.array(factors), jnp.array(order))
    # Pillow rounds each of the three to a whole level, which 1.25 enlarges.
    assert np.abs(got * 255 - np.asarray(want)).max() < 1 + 1 + 1.25


def test_zero_strength_only_scales_to_unit_range():
  got = views(NONE, jax.random.key(0), jnp.asarray(IMAGES))
  np.testing.assert_allclose(got, IMAGES / 255, atol=1e-6)


def test_views_depend_on_key_and_position_but_not_on_batch_size():
  augment = ColorJitter()
  images = jnp.asarray(IMAGES)
  whole = views(augment, jax.random.key(1), images)
  np.testing.assert_allclose(
    views(augment, jax.random.key(1), images[:2]), whole[:2], rtol=1e-6
  )
  assert (views(augment, jax.random.key(2), images) != whole).any()
  same = views(augment, jax.random.key(1), images[jnp.array([0, 0])])
  assert (same[0] != same[1]).any()
  assert 0 <= whole.min() < whole.max() <= 1


def test_half_of_the_images_are_flipped():
  flip = ColorJitter(brightness=0, contrast=0, saturation=0)
  images = jnp.asarray(np.repeat(IMAGES[:1], 200, axis=0))
  got = views(flip, jax.random.key(0), images)
  flipped = np.isclose(got, IMAGES[0, :, ::-1] / 255, atol=1e-6).all((1, 2, 3))
  plain = np.isclose(got, IMAGES[0] / 255, atol=1e-6).all((1, 2, 3))
  assert (flipped ^ plain).all()
  assert 70 < flipped.sum() < 130


def test_invalid_input_raises_an_error():
  with pytest.raises(ValueError, match=r'contrast must be in \[0, 1\], got 2'):
    ColorJitter(contrast=2)
  with pytest.raises(ValueError, match=r'got uint8 \(1, 2, 2, 1\)'):
    views(NONE, jax.random.key(0), jnp.zeros((1, 2, 2, 1), jnp.uint8))
