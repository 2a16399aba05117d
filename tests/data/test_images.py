"""The image reader that resident and streamed datasets share."""

import dataclasses
import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, ImageOps, PngImagePlugin

from kdjax import data
from kdjax.data.files import ImageFiles, open_image
from kdjax.data.images import EncodedImage

ORIENTATION = 0x0112


def noise(width, height, seed=0):
  """Returns an image without any symmetry."""
  random = np.random.default_rng(seed)
  small = random.integers(0, 256, (5, 7, 3), np.uint8)
  return Image.fromarray(small).resize((width, height))


def exif(orientation):
  made = Image.Exif()
  made[ORIENTATION] = orientation
  return made


def encoded(image, form='jpeg', **options):
  file = io.BytesIO()
  image.save(file, form, **options)
  return file.getvalue()


@pytest.fixture
def folder(tmp_path):
  """Images of several sizes, formats, modes and orientations."""
  for split in ('train', 'val'):
    for seed, (name, mode, options) in enumerate(
      [
        ('plain.jpg', 'RGB', {}),
        ('turned.jpg', 'RGB', {'exif': exif(6)}),
        ('turned.png', 'RGB', {'exif': exif(8)}),
        ('gray.png', 'L', {}),
        ('gray.jpg', 'L', {'exif': exif(3)}),
        ('palette.png', 'P', {}),
        ('cyan.jpg', 'CMYK', {}),
      ]
    ):
      path = tmp_path / split / 'class' / name
      if seed == 3:
        path = tmp_path / split / 'other' / name
      path.parent.mkdir(parents=True, exist_ok=True)
      noise(40 + seed, 30, seed).convert(mode).save(path, **options)
  return tmp_path


@pytest.mark.parametrize('size', [(12, 16), (90, 50)])
def test_in_memory_and_streamed_pixels_are_identical(folder, size):
  in_memory = data.load(f'folder:{folder}', size=size)
  streamed = data.load_imagenet(f'folder:{folder}', size=8)
  for split in ('train', 'test'):
    images = getattr(in_memory, split).images
    whole = dataclasses.replace(
      getattr(streamed, split), view=data.Whole(size), train_view=None
    )
    stream = whole.in_order(len(images))
    batch = next(stream)
    stream.close()
    np.testing.assert_array_equal(batch['image'], images)
    np.testing.assert_array_equal(
      batch['label'], getattr(in_memory, split).labels
    )


def test_folder_is_resized_with_the_bilinear_filter(folder):
  images = data.load(f'folder:{folder}', size=(12, 16)).train.images
  paths = sorted((folder / 'train').glob('*/*'))
  for path, pixels in zip(paths, images, strict=True):
    upright = ImageOps.exif_transpose(Image.open(path)).convert('RGB')
    want = upright.resize((16, 12), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(pixels, np.asarray(want))


@pytest.mark.parametrize('orientation', range(10))
@pytest.mark.parametrize('form', ['jpeg', 'png', 'webp'])
def test_every_exif_orientation_is_applied(orientation, form):
  content = encoded(noise(30, 20), form, exif=exif(orientation))
  image = EncodedImage(content, 'a')
  want = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
  assert image.size == want.size[::-1]
  np.testing.assert_array_equal(
    np.asarray(image.decode()), np.asarray(want.convert('RGB'))
  )


@pytest.mark.parametrize('orientation', range(1, 9))
def test_crop_decoded_at_a_smaller_scale_has_the_same_position(orientation):
  # 401 and 303 are no multiples of 8: the scaled image has a larger margin.
  content = encoded(
    noise(401, 303), quality=95, subsampling=0, exif=exif(orientation)
  )
  height, width = EncodedImage(content, 'a').size
  for box in ((0, 0, 200, 200), (width - 200, height - 200, width, height)):
    exact, fast = (
      np.asarray(
        EncodedImage(content, 'a').decode_box(box, (20, 20), draft=draft)
      ).astype(float)
      for draft in (False, True)
    )
    assert (exact != fast).any()
    # 0.7 to 0.95 here; windows without that margin differ by 1.2 to 9.
    assert np.abs(exact - fast).mean() < 1


def test_damaged_exif_data_are_ignored():
  content = encoded(noise(8, 6), exif=exif(6))
  place = content.index(b'Exif\0\0') + 6
  damaged = content[:place] + b'\xff' * 8 + content[place + 8 :]
  assert EncodedImage(damaged, 'a').size == (6, 8)


EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 8 8
%%EndComments
showpage
"""


@pytest.fixture
def images(tmp_path):
  """A folder with one file of a misleading kind in each split."""
  for split in ('train', 'val'):
    for name in ('class', 'other'):
      (tmp_path / split / name).mkdir(parents=True)
      noise(8, 8).save(tmp_path / split / name / 'a.png')
  return tmp_path


def check_both_refuse(folder, match):
  with pytest.raises(ValueError, match=match):
    data.load(f'folder:{folder}')
  stream = data.load_imagenet(f'folder:{folder}', size=8).train.in_order(2)
  with pytest.raises(ValueError, match=match):
    next(stream)
  stream.close()


def test_image_that_would_start_a_program_raises_an_error(images, monkeypatch):
  started = []
  monkeypatch.setattr(
    EpsImagePlugin, 'Ghostscript', lambda *_, **__: started.append(True)
  )
  (images / 'train' / 'class' / 'b.png').write_bytes(EPS)
  check_both_refuse(images, r'cannot decode .*b\.png: it is not an image in')
  assert not started


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='no pipes here')
def test_pipe_raises_an_error_without_blocking(images):
  os.mkfifo(images / 'train' / 'class' / 'b.png')
  check_both_refuse(images, r'cannot read .*b\.png: it is not a regular file')


def test_folder_and_missing_file_raise_errors(images):
  (images / 'train' / 'class' / 'b.png').mkdir()
  check_both_refuse(images, r'cannot read .*b\.png: it is not a regular file')
  files = ImageFiles.from_paths([images / 'none.png'])
  with pytest.raises(ValueError, match=r'cannot read .*none\.png: .*No such'):
    open_image(files, 0)


@pytest.mark.parametrize(
  'error', [struct.error('short'), ZeroDivisionError(), KeyError(7), EOFError()]
)
def test_any_decoder_exception_becomes_an_error_with_the_file_name(
  images, monkeypatch, error
):
  def fail(self):
    raise error

  monkeypatch.setattr(PngImagePlugin.PngImageFile, 'load', fail)
  check_both_refuse(images, r'cannot decode .*a\.png: \w+')


@pytest.mark.parametrize(
  'form', ['png', 'jpeg', 'gif', 'webp', 'ppm', 'bmp', 'tiff', 'jpeg2000']
)
def test_truncated_image_of_any_format_raises_an_error(form):
  content = encoded(noise(40, 30), form)
  said = [
    failure(content[:length])
    for length in range(0, len(content), max(1, len(content) // 40))
  ]
  assert all(text.startswith('cannot decode file.x: ') for text in said if text)
  assert said[0]
  assert not failure(content)


def failure(content):
  """Returns the message of a `ValueError` of decoding, or an empty string."""
  try:
    EncodedImage(content, 'file.x').decode()
  except ValueError as error:
    return str(error)
  return ''


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('compression', ['raw', 'tiff_lzw'])
def test_every_orientation_of_a_tiff_is_made_upright(orientation, compression):
  source = noise(30, 20)
  content = encoded(
    source, 'tiff', exif=exif(orientation), compression=compression
  )
  image = EncodedImage(content, 'a')
  source.getexif()[ORIENTATION] = orientation
  want = ImageOps.exif_transpose(source)
  assert image.size == want.size[::-1]
  np.testing.assert_array_equal(np.asarray(image.decode()), np.asarray(want))


def bomb(width, height):
  """A PNG of a few bytes that says it has so many pixels."""

  def chunk(kind, content):
    check = struct.pack('>I', zlib.crc32(kind + content))
    return struct.pack('>I', len(content)) + kind + content + check

  header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
  start = b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header)
  return start + chunk(b'IDAT', zlib.compress(b'')) + chunk(b'IEND', b'')


def test_a_decompression_bomb_is_named(images):
  path = images / 'train' / 'class' / 'b.png'
  path.write_bytes(bomb(50_000, 50_000))
  check_both_refuse(images, r'cannot decode .*b\.png: .*pixels.*bomb')


@pytest.mark.filterwarnings('ignore::PIL.Image.DecompressionBombWarning')
def test_an_image_that_pillow_warns_of_is_named(images):
  path = images / 'train' / 'class' / 'b.png'
  path.write_bytes(bomb(10_000, 10_000))
  check_both_refuse(images, r'b\.png: it has 10000x10000 pixels, more than 89')


def test_an_image_file_of_many_gigabytes_is_not_read(images):
  with (images / 'train' / 'class' / 'b.png').open('wb') as file:
    file.truncate(40 * 10**9)  # a hole
  files = ImageFiles.from_paths([images / 'train' / 'class' / 'b.png'])
  with pytest.raises(ValueError, match=r'b\.png: it has 40,000,000,000 bytes'):
    open_image(files, 0)


@pytest.mark.parametrize('name', ['a\0.png', '\ud800.png', 'a' * 5000])
def test_what_cannot_be_a_path_is_named(name):
  with pytest.raises(ValueError, match='cannot be the path of a file'):
    ImageFiles.from_paths([name])


@pytest.mark.parametrize(
  'error', [RuntimeError('record 7'), KeyError('image'), ValueError('null')]
)
def test_whatever_reading_raises_names_the_image(error):
  class Broken:
    def __len__(self):
      return 1

    def read(self, index):
      raise error

    def name(self, index):
      return f'image {index}'

  with pytest.raises(ValueError, match='cannot read image 0: '):
    open_image(Broken(), 0)


@pytest.mark.parametrize(
  'act',
  [
    lambda image: image.decode_box((0, 0, 400, 400), (20, 20), draft=True),
    lambda image: image.decode_box((0, 0, 400, 400), (20, 20)),
    lambda image: image.decode_window((30, 40), (0, 0, 20, 20)),
    lambda image: image.decode_resized((20, 20)),
  ],
)
def test_an_image_smaller_than_its_header_is_named(act, monkeypatch):
  image = EncodedImage(encoded(noise(400, 400)), 'file.x')
  load = image._image.load

  def shrunk():
    load()
    image._image._size = (7, 5)
    image._image.im = noise(7, 5).im

  monkeypatch.setattr(image._image, 'load', shrunk)
  with pytest.raises(ValueError, match=r'cannot decode file\.x: its header'):
    act(image)
