"""Tiny ImageNet from small archives with its layout: three classes."""

import hashlib
import io
import sys
import zipfile

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.core import utils
from tensorflow_datasets.core.download import checksums

from kdjax import data
from kdjax.data.tfds import prepared, tiny_imagenet

WNIDS = ('n03', 'n01', 'n02')  # as the original's, not sorted
ZIP = 'tiny-imagenet-200.zip'


def jpeg(seed, gray=False):
  random = np.random.default_rng(seed)
  pixels = random.integers(0, 256, (64, 64) if gray else (64, 64, 3), np.uint8)
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, 'jpeg')
  return file.getvalue()


def pixels(content):
  with Image.open(io.BytesIO(content)) as image:
    return np.asarray(image.convert('RGB'))


def members():
  """Returns the files of an archive; image 1 of each class is gray."""
  files = {
    'wnids.txt': '\n'.join(WNIDS).encode(),
    'words.txt': b'n01\tfish\nn02\tbird, fowl\nn03\tcat\nn99\tnothing\n',
    'test/images/test_0.JPEG': jpeg(99),  # without a label
    'val/val_annotations.txt': b'',
  }
  for i, wnid in enumerate(WNIDS):
    for k in (0, 1, 10):
      name = f'train/{wnid}/images/{wnid}_{k}.JPEG'
      files[name] = jpeg(20 * i + k, gray=k == 1)
    files[f'train/{wnid}/{wnid}_boxes.txt'] = b'x\t0\t0\t1\t1\n'
  for i, wnid in enumerate((*WNIDS, 'n01')):
    files[f'val/images/val_{i}.JPEG'] = jpeg(500 + i)
    line = f'val_{i}.JPEG\t{wnid}\t0\t0\t62\t62\n'
    files['val/val_annotations.txt'] += line.encode()
  return files


def write_zip(path, files):
  with zipfile.ZipFile(path, 'w') as archive:
    archive.mkdir('tiny-imagenet-200')
    for name, content in files.items():
      archive.writestr(f'tiny-imagenet-200/{name}', content)


@pytest.fixture
def register(monkeypatch):
  """Registers the checksum of a file as that of the original."""

  def as_original(path):
    content = path.read_bytes()
    info = checksums.UrlInfo(
      size=utils.Size(len(content)),
      checksum=hashlib.sha256(content).hexdigest(),
      filename=ZIP,
    )
    monkeypatch.setattr(
      tiny_imagenet.TinyImagenet, 'url_infos', {tiny_imagenet.URL: info}
    )

  return as_original


@pytest.fixture
def given(tmp_path, register):
  """Data folder that contains the archive."""
  write_zip(tmp_path / ZIP, members())
  register(tmp_path / ZIP)
  return tmp_path


def test_registered_archive_is_the_published_one():
  info = tiny_imagenet.TinyImagenet.url_infos[tiny_imagenet.URL]
  assert info.size == 248100043
  assert len(bytes.fromhex(info.checksum)) == 32
  assert info.filename == tiny_imagenet.URL.rpartition('/')[2]


def test_images_and_labels_match_the_archive(given):
  dataset = data.load('tiny_imagenet', data_dir=given)
  assert dataset.class_names == ('n01', 'n02', 'n03')
  files = members()
  want = [
    (pixels(content), sorted(WNIDS).index(name.split('/')[1]))
    for name, content in sorted(files.items())
    if name.startswith('train') and name.endswith('JPEG')
  ]
  np.testing.assert_array_equal(dataset.train.images, [x for x, _ in want])
  np.testing.assert_array_equal(dataset.train.labels, [y for _, y in want])
  val = [pixels(files[f'val/images/val_{i}.JPEG']) for i in range(4)]
  np.testing.assert_array_equal(dataset.test.images, val)
  np.testing.assert_array_equal(dataset.test.labels, [2, 0, 1, 0])
  assert dataset.mean == (0.4802, 0.4481, 0.3975)
  assert dataset.std == (0.2770, 0.2691, 0.2821)
  assert dataset.augment == data.Augmentation(crop_padding=8, flip=True)
  assert 'tensorflow' not in sys.modules


def test_gray_images_are_converted_to_rgb(given):
  train = data.load('tiny_imagenet', data_dir=given).train
  gray = [np.ptp(image, axis=-1).max() == 0 for image in train.images]
  assert gray == [False, True, False] * 3


def test_images_can_be_resized_to_32_pixels(given):
  dataset = data.load('tiny_imagenet', data_dir=given, size=(32, 32))
  assert dataset.image_shape == (32, 32, 3)
  assert dataset.augment.crop_padding == 4


def test_jpeg_files_are_stored_unchanged(given):
  data.load('tiny_imagenet', data_dir=given)
  folder = prepared.find(given, 'tiny_imagenet')
  source = tfds.builder_from_directory(folder).as_data_source(
    'validation', decoders={'image': tfds.decode.SkipDecoding()}
  )
  stored = {bytes(example['image']) for example in source}
  files = members()
  assert stored == {files[f'val/images/val_{i}.JPEG'] for i in range(4)}


@pytest.mark.parametrize('how', ['cut', 'flipped', 'other'])
def test_corrupt_archive_gives_one_error_line(given, how):
  path = given / ZIP
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 1
  kept = {'cut': content[:-500], 'flipped': content, 'other': b'<html>'}
  path.write_bytes(kept[how])
  with pytest.raises(
    data.DataUnavailableError, match=r'damaged or another file \('
  ) as error:
    data.load('tiny_imagenet', data_dir=given)
  assert str(path) in str(error.value).splitlines()[0]
  assert not list(given.glob('tiny_imagenet/*'))


def test_damaged_archive_member_raises_an_error(given, register):
  path = given / ZIP
  content = bytearray(path.read_bytes())
  content[content.index(members()['val/images/val_2.JPEG']) + 700] ^= 1
  path.write_bytes(content)
  register(path)  # as if the original were so
  with pytest.raises(data.DataUnavailableError, match='Bad CRC-32') as error:
    data.load('tiny_imagenet', data_dir=given)
  assert f'{path} is damaged' in str(error.value).splitlines()[0]
  assert not list(given.glob('tiny_imagenet/*'))


@pytest.mark.parametrize(
  ('change', 'why'),
  [
    ({'wnids.txt': None}, 'wnids.txt'),
    (
      {'val/images/val_1.JPEG': None},
      'lacks tiny-imagenet-200/val/images/val_',
    ),
    ({'wnids.txt': b'n01\nn02\nn03\nn04'}, 'it lacks n04'),
    ({'wnids.txt': b'n01\nn02'}, 'it lacks n03'),
    ({'val/val_annotations.txt': b''}, 'it lacks annotations'),
  ],
)
def test_archive_with_another_layout_raises_an_error(
  tmp_path, register, change, why
):
  files = {n: c for n, c in {**members(), **change}.items() if c is not None}
  write_zip(tmp_path / ZIP, files)
  register(tmp_path / ZIP)
  with pytest.raises(data.DataUnavailableError) as error:
    data.load('tiny_imagenet', data_dir=tmp_path)
  assert why in str(error.value).splitlines()[0]


def test_archive_member_that_is_no_image_raises_an_error(tmp_path, register):
  write_zip(tmp_path / ZIP, {**members(), 'val/images/val_1.JPEG': b'no'})
  register(tmp_path / ZIP)
  with pytest.raises(
    data.DataUnavailableError,
    match='cannot decode image 1 of validation: it is not an image',
  ):
    data.load('tiny_imagenet', data_dir=tmp_path)


def test_interrupted_preparation_is_restarted(given, monkeypatch):
  read, calls = zipfile.ZipFile.read, []

  def interrupted(self, name):
    calls.append(name)
    if len(calls) == 8:  # two texts, then images
      raise KeyboardInterrupt
    return read(self, name)

  with monkeypatch.context() as patch:
    patch.setattr(zipfile.ZipFile, 'read', interrupted)
    with pytest.raises(KeyboardInterrupt):
      data.load('tiny_imagenet', data_dir=given)
  assert not list(given.glob('tiny_imagenet/*'))
  # What a killed process leaves is not a prepared dataset either.
  left = given / 'tiny_imagenet' / 'incomplete.ABC123_1.0.0'
  left.mkdir(parents=True)
  (left / 'tiny_imagenet-train.array_record-00000-of-00001').write_bytes(b'')
  assert len(data.load('tiny_imagenet', data_dir=given).train) == 9
