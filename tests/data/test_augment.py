import functools

import chex
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.data import Augmentation, ColorJitter, to_float
from kdjax.data.augment import crop_and_flip


def apply(augment, key, images):
  """Returns random views of images without labels."""
  return augment(key, {'image': images})['image']


few = hypothesis.settings(deadline=None, max_examples=20, derandomize=True)


def random_images(batch=6, height=5, width=7, channels=3, seed=0):
  random = np.random.default_rng(seed)
  # No zeros, so that padding cannot be mistaken for an image.
  return random.integers(1, 256, (batch, height, width, channels), np.uint8)


@few
@hypothesis.given(
  padding=st.integers(0, 3), flip=st.booleans(), seed=st.integers(0, 99)
)
def test_each_crop_is_the_padded_image_at_its_offset(padding, flip, seed):
  images = random_images(seed=seed)
  batch, height, width, _ = images.shape
  random = np.random.default_rng(seed)
  offsets = random.integers(0, 2 * padding + 1, (batch, 2))
  flipped = np.full(batch, flip)
  got = crop_and_flip(images, offsets, flipped, padding=padding)
  for image, (top, left), view in zip(images, offsets, np.asarray(got)):
    whole = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    window = whole[top : top + height, left : left + width]
    np.testing.assert_array_equal(view, window[:, ::-1] if flip else window)


@few
@hypothesis.given(padding=st.integers(0, 4), seed=st.integers(0, 99))
def test_central_offset_is_the_identity(padding, seed):
  images = random_images(seed=seed)
  offsets = jnp.full((len(images), 2), padding)
  got = crop_and_flip(images, offsets, jnp.zeros(6, bool), padding=padding)
  np.testing.assert_array_equal(got, images)


def test_flipping_twice_is_the_identity():
  images, centre = random_images(), jnp.zeros((6, 2), int)
  flip = functools.partial(
    crop_and_flip, offsets=centre, flipped=jnp.ones(6, bool), padding=0
  )
  once = flip(images)
  assert (once != images).any()
  np.testing.assert_array_equal(flip(once), images)


def test_augmentation_without_crop_and_flip_only_scales():
  images = random_images()
  got = apply(Augmentation(), jax.random.key(0), images)
  np.testing.assert_array_equal(got, to_float(images))
  np.testing.assert_allclose(got, images / 255, rtol=1e-6)
  assert got.dtype == jnp.float32


class DrawsTest(chex.TestCase):
  @chex.variants(with_jit=True, without_jit=True)
  def test_views_depend_on_the_key(self):
    augment = self.variant(
      functools.partial(apply, Augmentation(crop_padding=2, flip=True))
    )
    images = random_images(batch=32)
    first = augment(jax.random.key(1), images)
    chex.assert_trees_all_equal(first, augment(jax.random.key(1), images))
    other = np.asarray(augment(jax.random.key(2), images))
    self.assertGreater((other != first).mean(), 0.5)


def test_view_does_not_depend_on_batch_size():
  augment = functools.partial(apply, Augmentation(crop_padding=4, flip=True))
  images = random_images(batch=32)
  whole = augment(jax.random.key(0), images)
  part = augment(jax.random.key(0), images[:5])
  chex.assert_trees_all_equal(whole[:5], part)


@pytest.mark.parametrize('devices', [2, 8])
def test_sharded_batch_has_the_same_views(devices):
  if jax.device_count() < devices:
    pytest.skip(f'{jax.device_count()} devices only')
  augment = jax.jit(
    functools.partial(apply, Augmentation(crop_padding=4, flip=True))
  )
  images = random_images(batch=32)
  mesh = jax.make_mesh(
    (devices,), ('data',), axis_types=(jax.sharding.AxisType.Auto,)
  )
  spread = jax.device_put(images, jax.NamedSharding(mesh, jax.P('data')))
  got = augment(jax.random.key(0), spread)
  assert len(got.sharding.device_set) == devices
  np.testing.assert_array_equal(got, augment(jax.random.key(0), images))


def test_crops_and_flips_are_uniform():
  # One bright pixel at the center tells where the window was.
  images = np.zeros((4000, 5, 5, 1), np.uint8)
  images[:, 2, 2] = 255
  got = apply(Augmentation(crop_padding=2), jax.random.key(0), images)
  where = np.asarray(got).mean(0)[..., 0]
  # 25 places with probability 1/25: standard error 0.0031.
  np.testing.assert_allclose(where, np.full((5, 5), 0.04), atol=0.013)
  images = np.zeros((4000, 1, 2, 1), np.uint8)
  images[:, :, 0] = 255
  got = apply(Augmentation(flip=True), jax.random.key(0), images)
  np.testing.assert_allclose(np.asarray(got)[:, 0, 0].mean(), 0.5, atol=0.03)


def test_crop_alone_never_flips():
  images = np.tile(np.arange(1, 8, dtype=np.uint8)[:, None], (64, 5, 1, 3))
  got = np.asarray(
    apply(Augmentation(crop_padding=1), jax.random.key(0), images)
  )
  assert (np.diff(got[..., 0], axis=2)[:, 2, 1:-1] > 0).all()


def test_negative_padding_raises_an_error():
  with pytest.raises(ValueError, match='not be negative, got -1'):
    Augmentation(crop_padding=-1)


@pytest.mark.parametrize(
  ('images', 'message'),
  [
    (random_images()[0], r'uint8 \(5, 7, 3\)'),
    (random_images() / 255, r'float64 \(6, 5, 7, 3\)'),
  ],
)
def test_invalid_images_raise_an_error(images, message):
  with pytest.raises(ValueError, match=message):
    apply(Augmentation(flip=True), jax.random.key(0), images)


@pytest.mark.parametrize(
  ('padding', 'flip', 'views'), [(1, True, 18), (2, False, 25), (4, True, 162)]
)
def test_all_view_numbers_give_different_images(padding, flip, views):
  augment = Augmentation(crop_padding=padding, flip=flip)
  assert augment.views == views
  image = random_images(batch=1)
  seen = augment.view(np.repeat(image, views, axis=0), jnp.arange(views))
  assert len(np.unique(np.asarray(seen).reshape(views, -1), axis=0)) == views
  whole = 2 * padding * (padding + 1)  # the crop that cuts nothing
  np.testing.assert_array_equal(
    seen[2 * whole if flip else whole], to_float(jnp.asarray(image[0]))
  )


def test_batch_has_the_drawn_views():
  augment = Augmentation(crop_padding=1, flip=True)
  images = random_images(batch=200)
  key = jax.random.key(3)
  views = augment.draw(key, 200)
  assert set(views.tolist()) == set(range(18))
  np.testing.assert_array_equal(
    apply(augment, key, images), augment.view(images, views)
  )


@pytest.mark.parametrize(
  'augment', [Augmentation(crop_padding=1, flip=True), ColorJitter()]
)
def test_other_entries_of_a_batch_are_unchanged(augment):
  images = random_images()
  boxes = np.arange(48.0).reshape(6, 2, 4)
  batch = {
    'image': images,
    'index': np.arange(6, dtype=np.int32),
    'label': {'boxes': boxes, 'classes': np.zeros((6, 2), np.int32)},
  }
  got = dict(augment(jax.random.key(0), batch))
  assert batch['image'] is images
  image = got.pop('image')
  assert (image.shape, image.dtype) == (images.shape, jnp.float32)
  chex.assert_trees_all_equal(
    got, {'index': batch['index'], 'label': batch['label']}
  )
