import numpy as np
import pytest
from PIL import Image

from kdjax import data

RED, GREEN, GREY = (255, 0, 0), (0, 255, 0), (9, 9, 9)


def save(path, color, size=(6, 4), mode='RGB', **options):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.new('RGB', size, color).convert(mode).save(path, **options)


@pytest.fixture
def images(tmp_path):
  for split in ('train', 'test'):
    save(tmp_path / split / 'rose' / 'a.png', RED)
    save(tmp_path / split / 'rose' / 'b.PNG', GREY)
    save(tmp_path / split / 'leaf' / 'c.bmp', GREEN)
    (tmp_path / split / 'leaf' / 'notes.txt').write_text('not an image')
    (tmp_path / split / '.hidden').mkdir()
  return tmp_path


def load(path):
  return data.load(f'folder:{path}')


def test_classes_are_the_folders_in_alphabetical_order(images):
  loaded = load(images)
  assert loaded.class_names == ('leaf', 'rose')
  np.testing.assert_array_equal(loaded.train.labels, [0, 1, 1])
  np.testing.assert_array_equal(
    loaded.train.images[:, 3, 5], [GREEN, RED, GREY]
  )
  assert loaded.image_shape == (4, 6, 3)


def test_val_folder_is_the_test_split_if_test_is_missing(images):
  (images / 'test').rename(images / 'val')
  assert len(load(images).test) == 3


def test_val_folder_is_the_test_split_if_test_has_no_classes(images):
  (images / 'test').rename(images / 'val')
  save(images / 'test' / 'secret.png', RED)  # as ImageNet's
  assert len(load(images).test) == 3


def test_images_have_one_channel_only_if_all_are_gray(tmp_path):
  for split in ('train', 'test'):
    save(tmp_path / split / 'x' / 'a.png', GREY, mode='L')
  assert load(tmp_path).image_shape == (4, 6, 1)
  save(tmp_path / 'train' / 'x' / 'b.png', RED)
  assert load(tmp_path).image_shape == (4, 6, 3)


def test_images_are_resized_to_the_most_frequent_size(images):
  save(images / 'train' / 'leaf' / 'large.png', RED, size=(20, 20))
  with pytest.warns(UserWarning, match='2 sizes.*6x4'):
    loaded = load(images)
  assert loaded.train.images.shape == (4, 4, 6, 3)
  np.testing.assert_array_equal(loaded.train.images[1, 2, 2], RED)


def test_most_frequent_size_is_taken_from_training_images(images):
  for number in range(5):
    save(images / 'train' / 'rose' / f'z{number}.png', RED, size=(8, 8))
    for other in range(5):
      save(images / 'test' / 'leaf' / f'z{number}{other}.png', RED)
  with pytest.warns(UserWarning, match='2 sizes.*8x8'):
    load(images)


def test_exif_orientation_is_applied(tmp_path):
  turned = Image.Exif()
  turned[0x0112] = 6  # orientation: rotate by a quarter
  for split in ('train', 'test'):
    save(tmp_path / split / 'x' / 'a.jpg', RED, exif=turned)
  assert load(tmp_path).image_shape == (6, 4, 3)


def test_missing_split_raises_an_error(images):
  (images / 'test').rename(images / 'elsewhere')
  with pytest.raises(ValueError, match=r'no folder .*val.*train/CLASS/'):
    load(images)


def test_class_without_images_raises_an_error(images):
  (images / 'train' / 'weed').mkdir()
  with pytest.raises(ValueError, match=r'no images.*of class weed in .*train'):
    load(images)


def test_class_without_training_folder_raises_an_error(images):
  save(images / 'test' / 'weed' / 'a.png', RED)
  with pytest.raises(ValueError, match='does not have: weed'):
    load(images)


def test_folder_without_classes_raises_an_error(tmp_path):
  (tmp_path / 'train').mkdir()
  (tmp_path / 'test').mkdir()
  with pytest.raises(ValueError, match='no class folders'):
    load(tmp_path)


@pytest.mark.parametrize('keep', [0, 20, 45])
def test_broken_image_raises_an_error_with_its_name(images, keep):
  path = images / 'train' / 'rose' / 'a.png'
  path.write_bytes(path.read_bytes()[:keep])
  with pytest.raises(ValueError, match=r'cannot decode .*rose.a\.png: \S'):
    load(images)
