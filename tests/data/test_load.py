import os
import shutil
import sys

import numpy as np
import pytest

from kdjax import data
from kdjax.data.tfds import cache, decode, prepared


@pytest.fixture(scope='session')
def digits_dir(tmp_path_factory):
  data_dir = tmp_path_factory.mktemp('digits')
  data.load('digits', data_dir=data_dir)
  return data_dir


def test_digits_are_those_of_scikit_learn(digits_dir):
  from sklearn import datasets

  digits = data.load('digits', data_dir=digits_dir)
  images = np.concatenate([digits.train.images, digits.test.images])
  labels = np.concatenate([digits.train.labels, digits.test.labels])
  levels, targets = datasets.load_digits(return_X_y=True)
  assert (len(digits.train), len(digits.test)) == (1000, 797)
  # Every original is there, once: 17 levels stretch to 256 and back.
  ours = np.column_stack([np.rint(images.reshape(-1, 64) * (16 / 255)), labels])
  theirs = np.column_stack([levels, targets])
  np.testing.assert_array_equal(
    ours[np.lexsort(ours.T)], theirs[np.lexsort(theirs.T)]
  )


def test_digits_recipe_has_the_statistics_of_the_training_images(digits_dir):
  digits = data.load('digits', data_dir=digits_dir)
  scaled = digits.train.images / 255
  np.testing.assert_allclose(digits.mean, scaled.mean(), atol=5e-5)
  np.testing.assert_allclose(digits.std, scaled.std(), atol=5e-5)


def test_digits_are_stratified(digits_dir):
  digits = data.load('digits', data_dir=digits_dir)
  for split, share in ((digits.train, 1000 / 1797), (digits.test, 797 / 1797)):
    counts = np.bincount(split.labels, minlength=10)
    whole = np.bincount(
      np.concatenate([digits.train.labels, digits.test.labels])
    )
    assert np.abs(counts - share * whole).max() < 1


def test_digits_load_without_tensorflow(digits_dir):
  data.load('digits', data_dir=digits_dir)
  assert 'tensorflow' not in sys.modules


def test_second_load_reads_the_cache(digits_dir, monkeypatch):
  first = data.load('digits', data_dir=digits_dir)
  monkeypatch.setattr(decode, 'decode', None)
  second = data.load('digits', data_dir=digits_dir)
  assert second.fingerprint == first.fingerprint
  assert isinstance(second.train.images, np.memmap)


@pytest.mark.parametrize('how', ['truncate', 'flip a bit', 'remove'])
def test_damaged_cache_is_rebuilt(tmp_path, how):
  whole = data.load('digits', data_dir=tmp_path).fingerprint
  folder = prepared.find(tmp_path, 'digits')
  assert folder is not None
  file = folder / cache.FOLDER / 'train_images.npy'
  content = bytearray(file.read_bytes())
  content[-1] ^= 1
  if how == 'remove':
    file.unlink()
  else:
    file.write_bytes(content if how == 'flip a bit' else content[:-100])
  assert cache.read(folder / cache.FOLDER) is None
  assert data.load('digits', data_dir=tmp_path).fingerprint == whole
  assert cache.read(folder / cache.FOLDER) is not None


def test_cache_that_cannot_be_written_is_only_a_warning(tmp_path, monkeypatch):
  def full(*_):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(np, 'save', full)
  with pytest.warns(UserWarning, match='No space left on device'):
    digits = data.load('digits', data_dir=tmp_path)
  assert len(digits.train) == 1000
  folder = prepared.find(tmp_path, 'digits')
  assert folder is not None
  assert not [name for name in os.listdir(folder) if name.startswith('.tmp')]


def test_cache_of_a_faster_process_is_kept(tmp_path, monkeypatch):
  data.load('digits', data_dir=tmp_path)
  folder = prepared.find(tmp_path, 'digits') / cache.FOLDER
  arrays = cache.read(folder)
  monkeypatch.setattr(shutil, 'rmtree', lambda *_, **__: None)
  cache.write(folder, arrays)  # its rename finds the folder there
  assert cache.read(folder) is not None


def test_limits_are_images_per_class_and_nested(digits_dir):
  few, more = (
    data.load('digits', data_dir=digits_dir, limit=limit) for limit in (5, 10)
  )
  np.testing.assert_array_equal(np.bincount(few.train.labels), 10 * [5])
  assert len(few.test) == 797
  rows = {image.tobytes() for image in more.train.images}
  assert {image.tobytes() for image in few.train.images} <= rows
  other = data.load('digits', data_dir=digits_dir, limit=5, limit_seed=1)
  assert other.fingerprint != few.fingerprint


def test_limit_must_be_positive(digits_dir):
  with pytest.raises(ValueError, match='at least 1, got 0'):
    data.load('digits', data_dir=digits_dir, limit=0)


@pytest.mark.parametrize(
  ('name', 'near'),
  [('cifar1000', 'cifar100'), ('digit', 'digits'), ('svhn', 'svhn_cropped')],
)
def test_unknown_name_suggests_the_nearest(name, near):
  with pytest.raises(ValueError, match=f"'{name}'; did you mean .*'{near}'"):
    data.load(name)


@pytest.mark.slow
def test_real_cifar100_equals_the_original_files(cifar100_data_dir):
  from tests import cifar

  ours = data.load('cifar100', data_dir=cifar100_data_dir)
  want = cifar.cifar100()
  assert ours.class_names == want.class_names
  np.testing.assert_array_equal(ours.train.images, want.train.images)
  np.testing.assert_array_equal(ours.train.labels, want.train.labels)
  np.testing.assert_array_equal(ours.test.images, want.test.images)
  np.testing.assert_array_equal(ours.test.labels, want.test.labels)
  assert ours.fingerprint == want.fingerprint
  assert 'tensorflow' not in sys.modules
