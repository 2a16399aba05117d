import tracemalloc

import numpy as np
import pytest

from kdjax import data


def arrays(train=20, test=6, shape=(8, 8, 3), classes=3):
  random = np.random.default_rng(0)
  return {
    'x_train': random.integers(0, 256, (train, *shape), np.uint8),
    'y_train': np.arange(train) % classes,
    'x_test': random.integers(0, 256, (test, *shape), np.uint8),
    'y_test': np.arange(test) % classes,
  }


def load(tmp_path, **changes):
  path = tmp_path / 'set.npz'
  np.savez(path, **(arrays() | changes))
  return data.load(f'npz:{path}')


def test_npz_is_loaded_unchanged(tmp_path):
  stored = arrays()
  loaded = load(tmp_path)
  np.testing.assert_array_equal(loaded.train.images, stored['x_train'])
  np.testing.assert_array_equal(loaded.train.labels, stored['y_train'])
  np.testing.assert_array_equal(loaded.test.images, stored['x_test'])
  np.testing.assert_array_equal(loaded.test.labels, stored['y_test'])
  assert loaded.class_names == ('0', '1', '2')
  assert loaded.augment == data.Augmentation(crop_padding=1, flip=True)


def test_normalization_uses_the_training_images(tmp_path):
  loaded = load(tmp_path, **arrays(train=600))
  scaled = loaded.train.images / 255
  np.testing.assert_allclose(loaded.mean, scaled.mean((0, 1, 2)), rtol=1e-12)
  np.testing.assert_allclose(loaded.std, scaled.std((0, 1, 2)), rtol=1e-12)


def test_constant_channel_is_divided_by_one(tmp_path):
  loaded = load(tmp_path, x_train=np.full((20, 8, 8, 3), 51, np.uint8))
  np.testing.assert_allclose(loaded.mean, 3 * [0.2], rtol=1e-12)
  assert loaded.std == (1.0, 1.0, 1.0)


def test_gray_images_and_label_columns_are_accepted(tmp_path):
  stored = arrays(shape=(8, 8))
  stored |= {k: v[:, None] for k, v in stored.items() if k[0] == 'y'}
  names = np.array(['a', 'b', 'c', 'd'])
  loaded = load(tmp_path, **stored, class_names=names)  # 'd' has no image
  assert loaded.image_shape == (8, 8, 1)
  assert loaded.num_classes == 4
  assert loaded.class_names == ('a', 'b', 'c', 'd')
  assert not loaded.augment.flip


def test_long_array_names_are_accepted(tmp_path):
  path = tmp_path / 'set.npz'
  stored = {
    k.replace('x_', '').replace('y_', '') + '_' + kind: v
    for k, v in arrays().items()
    for kind in ['images' if k[0] == 'x' else 'labels']
  }
  np.savez(path, **stored)
  assert len(data.load(f'npz:{path}').train) == 20


X, Y = arrays()['x_train'], arrays()['y_train']


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'x_train': X / 255}, 'must be uint8.*got float64'),
    ({'x_train': X[..., :2]}, r'1 or 3 channels, got shape \(20, 8, 8, 2\)'),
    ({'x_train': X[0, 0]}, r'must be \[N, height.*got shape \(8, 3\)'),
    ({'x_test': X[:6, :4]}, r'\(8, 8, 3\) but test images \(4, 8, 3\)'),
    ({'x_train': X[:19]}, '19 images but 20 labels'),
    ({'x_train': X[:0], 'y_train': Y[:0]}, 'no images'),
    ({'y_train': Y.astype(float)}, r'int32 \[N\].*got float64'),
    ({'y_train': np.eye(3, dtype=int)[Y]}, r'got int32 of shape \(20, 3\)'),
    ({'y_train': Y - 1}, 'indices from 0, got -1 to 1'),
    ({'y_train': Y + 2**31}, 'from 0, got 0 to 2147483650'),
    ({'y_train': Y > 0}, r'int32 \[N\].*got bool'),
    ({'y_train': Y[0]}, r'int32 \[N\], one.*of shape \(\)'),
    ({'x_train': X[0, 0, 0, 0]}, r'must be \[N, height.*got shape \(\)'),
    (
      {'y_train': Y * 10**9},
      r'largest label is 2,000,000,000, .* 20 training images have 3 different '
      r'labels \(0, 1000000000, 2000000000\)',
    ),
    ({'y_train': Y + 2_000_000}, 'makes 2,000,003 classes'),
    ({'y_train': Y * 10}, 'makes 21 classes'),
    ({'y_train': 0 * Y, 'y_test': Y[:6] * 0}, 'images are of one class, 0, so'),
    (
      {'y_train': 0 * Y + 1, 'class_names': ['a', 'b', 'c']},
      'one class, b, so',
    ),
    ({'class_names': np.array('abc')}, r'class_names must.*of shape \(\)'),
    ({'class_names': np.eye(3)}, r'class_names must.*float64 of shape'),
    ({'y_test': np.arange(6)}, r'test labels must be in \[0, 2\].*0 to 5'),
    ({'class_names': ['a', 'b']}, r'training labels must be in \[0, 1\].*0 to'),
  ],
)
def test_invalid_arrays_raise_an_error_with_the_file_name(
  tmp_path, changes, message
):
  with pytest.raises(ValueError, match=rf'npz:.*set\.npz: .*{message}'):
    load(tmp_path, **changes)


def test_classes_without_images_are_named(tmp_path):
  with pytest.warns(UserWarning, match='1 of 4 classes have no.*image: 0'):
    assert load(tmp_path, y_train=Y + 1).num_classes == 4


def test_labels_of_a_billion_take_no_time(tmp_path):
  tracemalloc.start()
  with pytest.raises(ValueError, match='largest label'):
    load(tmp_path, y_train=Y * 10**9)
  _, most = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert most < 2**22


@pytest.mark.parametrize('shape', [(8, 8), (8, 8, 3)])
def test_arrays_are_converted_on_request(tmp_path, shape):
  path = tmp_path / 'set.npz'
  np.savez(path, **arrays(shape=shape))
  rgb, gray = (
    data.load(f'npz:{path}', channels=channels) for channels in ('rgb', 'gray')
  )
  assert rgb.image_shape == (8, 8, 3)
  assert gray.image_shape == (8, 8, 1)
  assert len(rgb.mean) == len(rgb.std) == 3
  scaled = gray.train.images / 255
  np.testing.assert_allclose(gray.mean, [scaled.mean()], rtol=1e-12)
  np.testing.assert_allclose(gray.std, [scaled.std()], rtol=1e-12)
  weights = np.array([0.299, 0.587, 0.114])  # ITU-R 601
  luma = rgb.train.images @ weights
  assert np.abs(luma - gray.train.images[..., 0]).max() <= 1


def test_missing_arrays_are_listed(tmp_path):
  path = tmp_path / 'set.npz'
  np.savez(path, x_train=X, y_train=Y)
  with pytest.raises(ValueError, match=r'x_test, y_test.*got x_train, y_train'):
    data.load(f'npz:{path}')


def test_missing_file_raises_an_error(tmp_path):
  with pytest.raises(ValueError, match=r'cannot read .*none\.npz: .*No such'):
    data.load(f'npz:{tmp_path}/none.npz')


@pytest.mark.parametrize('content', [b'', b'not a file of arrays', None])
def test_file_of_another_format_raises_an_error(tmp_path, content):
  path = tmp_path / 'set.npz'
  np.savez(path, **arrays())
  path.write_bytes(path.read_bytes()[:1000] if content is None else content)
  with pytest.raises(ValueError, match=r'cannot read .*set\.npz'):
    data.load(f'npz:{path}')


def test_single_array_raises_an_error(tmp_path):
  path = tmp_path / 'set.npy'
  np.save(path, X)
  with pytest.raises(ValueError, match=r'a single \.npy array'):
    data.load(f'npz:{path}')


def test_pickled_objects_raise_an_error(tmp_path):
  with pytest.raises(ValueError, match='holds Python objects'):
    load(tmp_path, x_train=np.array([{'a': 1}], object))
