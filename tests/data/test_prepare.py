"""Preparation from original files, offline; small stand-ins for the archives.

TFDS takes a file in its download folder whose name carries the registered
checksum as checked, and so as the original.
"""

import io
import json
import tarfile
import threading
import urllib.error
import urllib.request

import numpy as np
import pytest
import scipy.io
from PIL import Image
from tensorflow_datasets.core.download import checksums, resource

from kdjax import data
from kdjax.data.tfds import digits, downloads, stl10, svhn

CIFAR10 = 'https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz'
CIFAR100 = 'https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz'


def download_path(data_dir, name, url):
  known = checksums.get_all_url_infos() | (svhn.SvhnCropped.url_infos or {})
  known |= stl10.Stl10.url_infos or {}
  file = resource.get_dl_fname(url, known[url].checksum)
  path = data_dir / 'downloads' / name / file
  path.parent.mkdir(parents=True, exist_ok=True)
  path.with_name(file + '.INFO').write_text(json.dumps({}))
  return path


def cifar_files(labels_per_row, name_files, parts):
  """Returns files in the CIFAR binary layout, with their images and labels."""
  random = np.random.default_rng(0)
  files, images, labels = dict(name_files), [], []
  for part in parts:
    x = random.integers(0, 256, (4, 32, 32, 3), np.uint8)
    y = random.integers(0, 10, (4, labels_per_row), np.uint8)
    planes = x.transpose(0, 3, 1, 2).reshape(4, -1)
    files[part] = np.concatenate([y, planes], axis=1).tobytes()
    images.append(x)
    labels.append(y[:, -1])
  return files, np.concatenate(images), np.concatenate(labels)


def numbered(count):
  return '\n'.join(f'class {i}' for i in range(count)).encode() + b'\n'


def write_archive(path, folder, files):
  with tarfile.open(path, 'w:gz') as tar:
    for name, content in files.items():
      member = tarfile.TarInfo(f'{folder}/{name}')
      member.size = len(content)
      tar.addfile(member, io.BytesIO(content))


def check(dataset, images, labels, num_train):
  got = np.concatenate([dataset.train.images, dataset.test.images])
  np.testing.assert_array_equal(got, images)
  got = np.concatenate([dataset.train.labels, dataset.test.labels])
  np.testing.assert_array_equal(got, labels)
  assert len(dataset.train) == num_train


def test_cifar10_is_prepared_from_its_archive(tmp_path):
  parts = [*(f'data_batch_{i}.bin' for i in range(1, 6)), 'test_batch.bin']
  # The original's list of names ends with an empty line, too.
  names = {'batches.meta.txt': numbered(10) + b'\n'}
  files, images, labels = cifar_files(1, names, parts)
  path = download_path(tmp_path, 'cifar10', CIFAR10)
  write_archive(path, 'cifar-10-batches-bin', files)
  dataset = data.load('cifar10', data_dir=tmp_path)
  check(dataset, images, labels, num_train=20)
  assert dataset.class_names == tuple(f'class {i}' for i in range(10))


def test_cifar100_is_prepared_from_extracted_files(tmp_path):
  names = {
    'fine_label_names.txt': numbered(100),
    'coarse_label_names.txt': numbered(20),
  }
  files, images, labels = cifar_files(2, names, ['train.bin', 'test.bin'])
  path = download_path(tmp_path, 'cifar100', CIFAR100)
  path.touch()
  extracted = tmp_path / 'downloads' / 'extracted' / f'TAR_GZ.{path.name}'
  (extracted / 'cifar-100-binary').mkdir(parents=True)
  for name, content in files.items():
    (extracted / 'cifar-100-binary' / name).write_bytes(content)
  check(data.load('cifar100', data_dir=tmp_path), images, labels, num_train=4)


def test_svhn_is_prepared_from_its_files(tmp_path):
  random = np.random.default_rng(0)
  images = random.integers(0, 256, (15, 32, 32, 3), np.uint8)
  labels = np.r_[1:11, 1:6]  # as stored: 1 to 10
  for url, rows in zip(svhn.SvhnCropped.urls, (slice(10), slice(10, 15))):
    content = {
      'X': np.moveaxis(images[rows], 0, -1),
      'y': labels[rows, None].astype(np.uint8),
    }
    scipy.io.savemat(download_path(tmp_path, 'svhn_cropped', url), content)
  dataset = data.load('svhn_cropped', data_dir=tmp_path)
  check(dataset, images, labels % 10, num_train=10)
  assert dataset.class_names == tuple('0123456789')


def test_stl10_is_prepared_at_its_own_and_a_smaller_size(tmp_path):
  random = np.random.default_rng(0)
  images = random.integers(0, 256, (5, 96, 96, 3), np.uint8)
  labels = np.array([1, 10, 3, 2, 10], np.uint8)  # as stored: 1 to 10
  files = {'class_names.txt': numbered(10).replace(b' ', b'_')}
  for split, rows in (('train', slice(3)), ('test', slice(3, 5))):
    # Column by column, in planes of red, green and blue.
    files[f'{split}_X.bin'] = images[rows].transpose(0, 3, 2, 1).tobytes()
    files[f'{split}_y.bin'] = labels[rows].tobytes()
  (url,) = stl10.Stl10.urls
  path = download_path(tmp_path, 'stl10', url)
  write_archive(path, 'stl10_binary', files)
  dataset = data.load('stl10', data_dir=tmp_path)
  check(dataset, images, labels - 1, num_train=3)
  assert dataset.class_names[9] == 'class_9'
  assert dataset.augment.crop_padding == 12
  assert dataset.mean == (0.4467, 0.4398, 0.4066)
  assert dataset.std == (0.2603, 0.2566, 0.2712)

  small = data.load('stl10', data_dir=tmp_path, size=(32, 32))
  assert small.image_shape == (32, 32, 3)
  assert small.augment.crop_padding == 4
  # Three pixels become one: no more than their triangle of weights.
  want = Image.fromarray(images[3]).resize((32, 32), Image.Resampling.BILINEAR)
  np.testing.assert_array_equal(small.test.images[0], np.asarray(want))
  np.testing.assert_allclose(
    small.test.images[0].mean(), images[3].mean(), atol=1
  )
  again = data.load('stl10', data_dir=tmp_path, size=(32, 32))
  assert isinstance(again.train.images, np.memmap)
  assert data.load('stl10', data_dir=tmp_path).image_shape == (96, 96, 3)


@pytest.mark.parametrize('kept', [0, 100, 300, 5000])
@pytest.mark.parametrize('compressed', [False, True])
def test_damaged_svhn_raises_an_error(tmp_path, kept, compressed):
  rng = np.random.default_rng(0)
  content = {
    'X': rng.integers(0, 256, (32, 32, 3, 4), np.uint8),
    'y': np.ones((4, 1), np.uint8),
  }
  for url in svhn.SvhnCropped.urls:
    path = download_path(tmp_path, 'svhn_cropped', url)
    scipy.io.savemat(path, content, do_compression=compressed)
    path.write_bytes(path.read_bytes()[:kept])
  with pytest.raises(
    data.DataUnavailableError, match=r'svhn.*is damaged .*delete it'
  ):
    data.load('svhn_cropped', data_dir=tmp_path)


@pytest.mark.parametrize(
  'content', [b'', b'no archive', 'truncated', 'lacking']
)
def test_damaged_archive_raises_an_error(tmp_path, content):
  path = download_path(tmp_path, 'cifar10', CIFAR10)
  write_archive(path, 'cifar-10-batches-bin', {'a': bytes(range(256)) * 99})
  if content != 'lacking':
    whole = path.read_bytes()
    path.write_bytes(whole[:-30] if content == 'truncated' else content)
  with pytest.raises(
    data.DataUnavailableError, match=r'damaged|lacks'
  ) as error:
    data.load('cifar10', data_dir=tmp_path)
  assert path.name in str(error.value)
  assert not list(tmp_path.glob('cifar10/*'))


def test_unavailable_dataset_without_network_names_the_alternatives(
  tmp_path, monkeypatch
):
  def unreachable(*_, **__):
    raise urllib.error.URLError('Name or service not known')

  monkeypatch.setattr(urllib.request, 'urlopen', unreachable)
  with pytest.raises(data.DataUnavailableError) as error:
    data.load('cifar100', data_dir=tmp_path)
  message = str(error.value)
  for part in (
    'cifar100 is not prepared in',
    str(tmp_path),
    'Name or service not known',
    '--data_dir=FOLDER',
    "data.load('cifar100', data_dir='FOLDER')",
    f'put cifar-100-binary.tar.gz into {tmp_path}',
    '--dataset=npz:FILE',
  ):
    assert part in message
  assert error.value.__cause__ is None
  assert error.value.__suppress_context__
  assert not list(tmp_path.iterdir())


def test_download_from_an_unresponsive_host_times_out(tmp_path, monkeypatch):
  monkeypatch.setattr(downloads, '_CONNECT_SECONDS', 0.1)
  given_up = threading.Event()

  def silent(*_, **__):
    given_up.wait()
    raise TimeoutError

  monkeypatch.setattr(urllib.request, 'urlopen', silent)
  with pytest.raises(data.DataUnavailableError, match='no answer'):
    data.load('cifar100', data_dir=tmp_path)
  given_up.set()


def test_full_disk_raises_an_error_and_leaves_no_files(tmp_path, monkeypatch):
  def full(*_):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(digits.Digits, '_generate_examples', full)
  with pytest.raises(data.DataUnavailableError, match='No space left'):
    data.load('digits', data_dir=tmp_path)
  assert not list(tmp_path.glob('digits/*'))


def test_data_folder_that_cannot_be_created_raises_an_error(tmp_path):
  (tmp_path / 'file').touch()
  with pytest.raises(data.DataUnavailableError, match='Not a directory'):
    data.load('digits', data_dir=tmp_path / 'file')


def test_dataset_prepared_by_a_faster_process_is_kept(tmp_path, monkeypatch):
  download_and_prepare = digits.Digits.download_and_prepare

  def beaten(self, **options):
    download_and_prepare(self, **options)
    raise OSError(39, 'Directory not empty')

  monkeypatch.setattr(digits.Digits, 'download_and_prepare', beaten)
  assert len(data.load('digits', data_dir=tmp_path).train) == 1000


def test_preparing_digits_prints_nothing(tmp_path, capfd):
  data.load('digits', data_dir=tmp_path)
  assert capfd.readouterr() == ('', '')
