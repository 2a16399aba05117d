"""Every format that Pillow decodes by itself is read; no other is."""

import pathlib

import numpy as np
import pytest
from PIL import Image, features

from kdjax import data
from kdjax.data.formats import EXTENSIONS, FORMATS

DOCS = pathlib.Path(__file__).resolve().parents[2] / 'docs'


def test_no_format_starts_a_program():
  assert not {'EPS', 'PDF', 'WMF', 'GBR', 'MPEG'} & set(FORMATS)
  assert not {'.eps', '.ps', '.pdf', '.wmf'} & set(EXTENSIONS)


def test_every_extension_is_documented():
  text = (DOCS / 'datasets.md').read_text()
  assert not [each for each in EXTENSIONS if f'`{each}`' not in text]


@pytest.mark.parametrize(
  'name',
  ['.png', '.TIF', '.tiff', '.jfif', '.jpe', '.avif', '.webp', '.jp2', '.pgm'],
)
def test_files_are_read_by_extension(tmp_path, name):
  if name == '.avif' and not features.check('avif'):
    pytest.skip('this Pillow has no AVIF')
  for split in ('train', 'test'):
    for label, level in (('a', 40), ('b', 200)):
      path = tmp_path / split / label / f'image{name}'
      path.parent.mkdir(parents=True)
      Image.new('L', (8, 8), level).save(path)
  images = data.load(f'folder:{tmp_path}', channels='gray').train.images
  np.testing.assert_allclose(images[:, 4, 4, 0], [40, 200], atol=2)
