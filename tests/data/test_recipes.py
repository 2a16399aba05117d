"""Published settings of the datasets: constants and crops as in the papers."""

import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.data.recipes import RECIPES

# RepDistiller's dataset/cifar100.py.
_MEAN, _STD = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)


@pytest.mark.parametrize('name', ['cifar10', 'cifar100'])
def test_cifar_is_normalized_with_the_papers_constants(name):
  assert (RECIPES[name].mean, RECIPES[name].std) == (_MEAN, _STD)


def test_grays_normalized_with_a_datasets_constants_are_of_order_one():
  # The mean and standard deviation of uniform images in [0, 1] are 1/2 and
  # 0.29; those of photographs and digits are not far from them.
  for recipe in RECIPES.values():
    assert len(recipe.mean) == len(recipe.std) in (1, 3)
    assert all(0.25 < mean < 0.55 for mean in recipe.mean)
    assert all(0.19 < std < 0.4 for std in recipe.std)


@pytest.mark.parametrize(
  ('name', 'padding', 'flip'),
  [
    ('cifar10', 4, True),
    ('cifar100', 4, True),
    ('svhn_cropped', 4, True),
    ('tiny_imagenet', 8, True),
    ('stl10', 12, True),
    ('digits', 1, False),
  ],
)
def test_crops_shift_an_image_by_up_to_its_padding(name, padding, flip):
  augment, size = RECIPES[name].augment, RECIPES[name].size
  assert padding == max(1, size // 8)
  assert augment.views == (2 * padding + 1) ** 2 * (1 + flip)
  # The first view begins `padding` pixels above and to the left of the image:
  # its last pixel is that of the image at padding + 1 from the corner.
  pixels = np.arange(size * size) % 251
  image = pixels.reshape(1, size, size, 1).astype(np.uint8)
  (view,) = augment.view(jnp.asarray(image), jnp.zeros(1, jnp.int32))
  want = np.zeros((size, size, 1))
  want[padding:, padding:] = image[0, : size - padding, : size - padding]
  np.testing.assert_allclose(255 * view, want, atol=1e-3)
