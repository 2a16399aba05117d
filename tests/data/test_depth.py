"""Images of more than 8 bits per channel, scaled by their depth."""

import io

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from kdjax import data
from kdjax.data.images import EncodedImage

RAMP = (np.arange(256, dtype=np.uint16) * 256).reshape(16, 16)  # to 65280
SCALED = np.round(RAMP / 257).astype(np.uint8)
SIGNED, BITS, INVERTED = 339, 258, 262  # tags of TIFF


def encoded(image, form, **options):
  file = io.BytesIO()
  image.save(file, form, **options)
  return file.getvalue()


def pgm(levels, largest, dtype='>u2'):
  height, width = levels.shape
  header = f'P5 {width} {height} {largest}\n'.encode()
  return header + levels.astype(dtype).tobytes()


def pfm(levels):
  height, width = levels.shape
  flipped = levels[::-1].astype('<f4').tobytes()  # from the bottom
  return f'Pf\n{width} {height}\n-1.0\n'.encode() + flipped


def big_endian(levels):
  tags = TiffImagePlugin.ImageFileDirectory_v2(prefix=b'MM')
  return encoded(Image.fromarray(levels.astype('>u2')), 'tiff', tiffinfo=tags)


CASES = {
  'png': encoded(Image.fromarray(RAMP), 'png'),
  'tiff': encoded(Image.fromarray(RAMP), 'tiff'),
  'lzw': encoded(Image.fromarray(RAMP), 'tiff', compression='tiff_lzw'),
  'big': big_endian(RAMP),
  'pgm': pgm(RAMP, 65535),
  'jp2': encoded(Image.fromarray(RAMP), 'jpeg2000', irreversible=False),
}


def decode(content, mode='L'):
  return np.asarray(EncodedImage(content, 'file.x').decode(mode))


@pytest.mark.parametrize('case', CASES)
def test_gray_levels_of_16_bits_are_divided_by_257(case):
  levels = decode(CASES[case])
  np.testing.assert_array_equal(levels, SCALED)
  assert len(np.unique(levels)) == 255
  colored = decode(CASES[case], 'RGB')
  np.testing.assert_array_equal(colored, np.repeat(SCALED[..., None], 3, -1))


def test_both_ends_of_the_range_are_kept():
  ends = np.array([[0, 128, 129, 65406, 65407, 65535]], np.uint16)
  levels = decode(encoded(Image.fromarray(ends), 'png'))
  assert levels.tolist() == [[0, 0, 1, 254, 255, 255]]


def test_white_may_be_zero():
  image = encoded(Image.fromarray(RAMP), 'tiff', tiffinfo={INVERTED: 0})
  np.testing.assert_array_equal(decode(image), 255 - SCALED)


def test_levels_of_12_bits_are_scaled_by_their_depth():
  # Two levels in three bytes: 0, 2048 and 4095, 1000.
  packed = b''.join(
    ((a << 12) | b).to_bytes(3, 'big') for a, b in [(0, 2048), (4095, 1000)]
  )
  tags = [
    (256, 3, 1, 4),  # width
    (257, 3, 1, 1),  # height
    (BITS, 3, 1, 12),
    (259, 3, 1, 1),  # not compressed
    (INVERTED, 3, 1, 1),
    (273, 4, 1, 8),  # where the pixels are
    (277, 3, 1, 1),  # channels
    (278, 3, 1, 1),  # rows
    (279, 4, 1, len(packed)),
  ]
  entries = b''.join(
    tag.to_bytes(2, 'little')
    + kind.to_bytes(2, 'little')
    + count.to_bytes(4, 'little')
    + value.to_bytes(4, 'little')
    for tag, kind, count, value in tags
  )
  directory = len(tags).to_bytes(2, 'little') + entries + bytes(4)
  start = b'II*\0' + (8 + len(packed)).to_bytes(4, 'little')
  levels = decode(start + packed + directory)
  assert levels.tolist() == [[0, 128, 255, 62]]


def test_a_white_of_another_number_is_scaled():
  levels = decode(pgm(np.array([[0, 500, 1000]]), 1000))
  assert levels.tolist() == [[0, 128, 255]]


@pytest.mark.parametrize('write', ['tiff', 'pfm'])
def test_floats_from_0_to_1_are_scaled(write):
  values = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
  content = pfm(values)
  if write == 'tiff':
    content = encoded(Image.fromarray(values), 'tiff')
  levels = decode(content)
  np.testing.assert_array_equal(levels.ravel(), np.arange(256))


@pytest.mark.parametrize(
  ('pixels', 'message'),
  [
    (np.float32([[0, 255]]), 'floating-point numbers from 0 to 255'),
    (np.float32([[-0.1, 1]]), r'floating-point numbers from -0\.1 to 1'),
    (np.float32([[0, np.nan]]), 'floating-point numbers from nan to nan'),
    (np.int32([[0, 70_000]]), 'signed integers of 32 bits'),
  ],
)
def test_what_has_no_white_is_named(pixels, message):
  content = encoded(Image.fromarray(pixels), 'tiff')
  with pytest.raises(
    ValueError, match=rf'decode file\.x: its pixels.*{message}'
  ):
    decode(content)


def test_folders_and_streams_scale_alike(tmp_path):
  for split in ('train', 'test'):
    for name, form in (('a', 'png'), ('b', 'tiff')):
      path = tmp_path / split / name / f'image.{form}'
      path.parent.mkdir(parents=True)
      Image.fromarray(RAMP).save(path)
  loaded = data.load(f'folder:{tmp_path}')
  assert loaded.image_shape == (16, 16, 1)
  for image in loaded.train.images:
    np.testing.assert_array_equal(image[..., 0], SCALED)
  streamed = data.load_imagenet(f'folder:{tmp_path}', size=16).train
  stream = streamed.in_order(2)
  shown = next(stream)['image']
  stream.close()
  assert len(np.unique(shown)) > 200
