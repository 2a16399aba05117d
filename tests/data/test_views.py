import io

import numpy as np
import pytest
from PIL import Image

from kdjax.data import images
from kdjax.data.images import EncodedImage
from kdjax.data.stream.views import CenterCrop, RandomResizedCrop, Whole

# Left to right in red, top to bottom in green: a pixel says where it was.
WIDTH, HEIGHT = 250, 125


def _image(width=WIDTH, height=HEIGHT, form='png'):
  pixels = np.zeros((height, width, 3), np.uint8)
  pixels[..., 0] = np.arange(width) * 250 // width
  pixels[..., 1] = (np.arange(height) * 250 // height)[:, None]
  return _encoded(_saved(Image.fromarray(pixels), form))


def _saved(image, form, **options):
  file = io.BytesIO()
  image.save(file, form, quality=95, **options)
  return file.getvalue()


def _encoded(content):
  return EncodedImage(content, 'image')


def _draws(seed=0):
  return np.random.default_rng(seed)


def _of_mode(mode):
  image = _image().decode().convert(mode)
  return _encoded(_saved(image, 'jpeg' if mode == 'CMYK' else 'png'))


@pytest.mark.parametrize(
  'view', [Whole((6, 4)), CenterCrop((6, 4), 6), RandomResizedCrop((6, 4))]
)
def test_every_image_mode_becomes_rgb_of_the_view_size(view):
  for mode in ('L', 'CMYK', 'RGBA', 'P'):
    pixels = view(_of_mode(mode), _draws())
    assert (pixels.shape, pixels.dtype) == ((6, 4, 3), np.uint8)


def test_center_crop_is_the_middle_of_the_resized_image():
  # 250 x 125 becomes 80 x 40, of which columns 24 to 55 are left.
  pixels = CenterCrop((32, 32), 40)(_image(), _draws())
  image = _image().decode()
  image = image.resize((80, 40), Image.Resampling.BILINEAR)
  np.testing.assert_array_equal(pixels, np.asarray(image)[4:36, 24:56])
  # Upright ones too; half a pixel is rounded to the even side: 4.5 to 4.
  upright = CenterCrop((31, 32), 40)(_image(HEIGHT, WIDTH), _draws())
  image = _image(HEIGHT, WIDTH).decode()
  image = image.resize((40, 80), Image.Resampling.BILINEAR)
  np.testing.assert_array_equal(upright, np.asarray(image)[24:55, 4:36])


@pytest.mark.parametrize(('width', 'height'), [(60_000, 1), (1, 60_000)])
def test_a_strip_takes_no_memory(width, height, monkeypatch):
  # Resized as a whole it would have 256 times 15,360,000 pixels.
  sizes = []
  resize = Image.Image.resize

  def noted(image, size, *args, **kwargs):
    sizes.append(size[0] * size[1])
    return resize(image, size, *args, **kwargs)

  monkeypatch.setattr(Image.Image, 'resize', noted)
  for view in (CenterCrop((224, 224), 256), RandomResizedCrop((224, 224))):
    pixels = view(_image(width, height), _draws())
    assert pixels.shape == (224, 224, 3)
  assert max(sizes) <= 2**26
  # The middle of the strip is one pixel here, of half the levels.
  middle = CenterCrop((224, 224), 256)(_image(width, height), _draws())
  axis = 0 if width > height else 1
  assert np.abs(middle[..., axis].astype(int) - 125).max() <= 1


def test_a_window_is_computed_as_of_the_whole_image(monkeypatch):
  for width, height in ((250, 125), (125, 250), (37, 911)):
    image = _image(width, height)
    view = CenterCrop((32, 30), 40)
    whole = view(image, _draws()).astype(int)
    with monkeypatch.context() as patch:
      patch.setattr(images, '_MAX_RESIZED', 0)
      window = view(_image(width, height), _draws()).astype(int)
    assert np.abs(whole - window).max() <= 1


@pytest.mark.parametrize(
  ('size', 'width', 'begins'),
  [
    (36, 45, 4),  # half a pixel is rounded to even: 4.5 down to 4,
    (36, 47, 6),  # 5.5 up to 6,
    (36, 46, 5),
  ],
)
def test_a_center_crop_begins_at_the_rounded_middle(size, width, begins):
  pixels = CenterCrop((size, size), 40)(_image(width, 40), _draws())
  image = np.asarray(_image(width, 40).decode())
  np.testing.assert_array_equal(
    pixels, image[2 : 2 + size, begins : begins + size]
  )


def test_the_longer_side_of_a_center_crop_is_truncated():
  # 32 · 77 / 40 is 61.6: 61, as in torchvision; of them 14.5, so 14, are cut.
  pixels = CenterCrop((32, 32), 32)(_image(77, 40), _draws())
  image = _image(77, 40).decode().resize((61, 32), Image.Resampling.BILINEAR)
  np.testing.assert_array_equal(pixels, np.asarray(image)[:, 14:46])


def test_random_crop_depends_on_the_generator_only():
  view = RandomResizedCrop((16, 16))
  first, again = (view(_image(), _draws(3)) for _ in range(2))
  np.testing.assert_array_equal(first, again)
  assert (first != view(_image(), _draws(4))).any()


def test_random_crops_have_the_given_areas_and_aspect_ratios():
  view = RandomResizedCrop((8, 8), scale=(0.1, 0.5), ratio=(0.5, 1.5))
  boxes = np.array([view._random_box(400, 300, _draws(i)) for i in range(2000)])
  left, top, right, bottom = boxes.T
  assert min(left.min(), top.min()) >= 0
  assert right.max() <= 400
  assert bottom.max() <= 300
  shares = (right - left) * (bottom - top) / (400 * 300)
  # To a rounded pixel. Windows that do not fit are rare here.
  np.testing.assert_allclose(
    [shares.min(), shares.max()], [0.1, 0.5], atol=4e-3
  )
  np.testing.assert_allclose(shares.mean(), 0.3, atol=0.01)
  ratios = np.log((right - left) / (bottom - top))
  np.testing.assert_allclose(
    [ratios.min(), ratios.max()], np.log([0.5, 1.5]), atol=0.02
  )
  np.testing.assert_allclose(ratios.mean(), np.log(0.75) / 2, atol=0.03)


@pytest.mark.parametrize(
  ('width', 'height', 'box'),
  [
    (1000, 30, (480, 0, 520, 30)),
    (30, 1000, (0, 480, 30, 520)),
    (1, 1, (0, 0, 1, 1)),
  ],
)
def test_image_that_fits_no_crop_gives_its_center(width, height, box):
  # A window with all of the area does not fit into either.
  view = RandomResizedCrop((8, 8), scale=(1.0, 1.0))
  assert view._random_box(width, height, _draws()) == box


@pytest.mark.parametrize('size', [(60, 60), (20, 30), (10, 10)])
def test_jpeg_decoded_at_a_smaller_scale_looks_the_same(size):
  # Red and green say where a pixel was, so windows can be read off.
  for seed in range(5):
    slow, fast = (
      RandomResizedCrop(size, draft=draft)(
        _image(500, 400, 'jpeg'), _draws(seed)
      ).astype(int)
      for draft in (False, True)
    )
    # A pixel of what is decoded at an eighth is four levels.
    assert np.abs(slow - fast).max() <= 4
    assert np.abs(slow - fast).mean() <= 1


def test_large_jpeg_is_decoded_at_a_smaller_scale():
  image = _image(800, 800, 'jpeg')
  assert image._reduce((0, 0, 800, 800), (100, 100)) == (0, 0, 100, 100)
  assert image.decode().size == (100, 100)


def test_invalid_settings_raise_an_error():
  with pytest.raises(ValueError, match='size must be at least 1'):
    Whole((0, 4))
  with pytest.raises(ValueError, match='does not fit'):
    CenterCrop((9, 9), 8)
  with pytest.raises(ValueError, match='scale must be two positive'):
    RandomResizedCrop((8, 8), scale=(1.0, 0.5))
