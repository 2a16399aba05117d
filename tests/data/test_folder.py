import os

import numpy as np
import pytest
from PIL import Image

from kdjax import data
from kdjax.runtime import memory

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
    (tmp_path / split / 'leaf' / '._c.bmp').write_text('not an image')
    (tmp_path / split / 'leaf' / '.notes.txt').write_text('not an image')
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


@pytest.mark.parametrize('name', ['val', 'valid', 'validation'])
def test_other_names_of_the_test_split(images, name):
  (images / 'test').rename(images / name)
  assert len(load(images).test) == 3


def test_val_folder_is_the_test_split_if_test_has_no_classes(images):
  (images / 'test').rename(images / 'val')
  save(images / 'test' / 'secret.png', RED)  # as ImageNet's
  assert len(load(images).test) == 3


def test_images_have_one_channel_only_if_all_are_gray(tmp_path):
  for split in ('train', 'test'):
    save(tmp_path / split / 'x' / 'a.png', GREY, mode='L')
    save(tmp_path / split / 'y' / 'a.png', GREY, mode='1')
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
    for label in 'xy':
      save(tmp_path / split / label / 'a.jpg', RED, exif=turned)
  assert load(tmp_path).image_shape == (6, 4, 3)


def test_missing_split_raises_an_error(images):
  (images / 'test').rename(images / 'elsewhere')
  with pytest.raises(
    ValueError, match=r'no folder .*test\. Expected train/CLASS/.*val'
  ):
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


def test_files_left_out_are_counted_and_named(images):
  for number in range(5):
    (images / 'train' / 'leaf' / f'{number}.txt').write_text('not an image')
  (images / 'test' / 'rose' / 'sketch.psd').write_bytes(b'8BPS')
  message = (
    r'6 files .*left out.*train/leaf/0\.txt, train/leaf/1\.txt, '
    r'train/leaf/2\.txt and 3 more.*\.avif'
  )
  with pytest.warns(UserWarning, match=message) as warned:
    assert len(load(images).train) == 3
  assert len(warned) == 1
  with pytest.warns(UserWarning, match=message):
    assert len(data.load_imagenet(f'folder:{images}', size=8).train) == 3


def test_what_a_class_without_images_holds_is_named(images):
  weed = images / 'train' / 'weed'
  weed.mkdir()
  for name in ('a.txt', 'b.txt', '.DS_Store'):
    (weed / name).write_text('')
  with pytest.raises(ValueError, match=r'class weed .*hold a\.txt, b\.txt\.'):
    load(images)


def test_images_one_folder_too_deep(images):
  for label in ('leaf', 'rose'):
    folder = images / 'train' / label
    inner = folder / 'images'
    inner.mkdir()
    for path in list(folder.iterdir()):
      if path != inner and path.name[0] != '.':
        path.rename(inner / path.name)
  message = r'2 classes are one folder too deep: .*leaf.images holds 1\. Exp'
  with pytest.raises(ValueError, match=message):
    load(images)


def test_many_unknown_classes_are_counted(images):
  for number in range(1000):
    (images / 'test' / f'weed{number:04}').mkdir()
    save(images / 'test' / f'weed{number:04}' / 'a.png', RED)
  message = (
    r'1,000 classes .*: weed0000, weed0001, weed0002 and 997 more \(2 classes '
    r'in .*train, 1,002 in .*test, 2 in both\)'
  )
  with pytest.raises(ValueError, match=message) as error:
    load(images)
  assert len(str(error.value)) < 1000


def test_one_class_is_refused(images):
  for split in ('train', 'test'):
    (images / split / 'rose').rename(images / f'rose of {split}')
  for read in (load, lambda path: data.load_imagenet(f'folder:{path}', size=8)):
    with pytest.raises(ValueError, match='1 training images are of one class'):
      read(images)


def test_names_that_are_not_utf8(images):
  for split in ('train', 'test'):
    folder = os.fsencode(images / split) + b'/\xff'
    os.mkdir(folder)
    save(images / split / 'rose' / 'a.png', RED)
    os.rename(images / split / 'rose' / 'a.png', folder + b'/\xfe.png')
  assert len(load(images).fingerprint) == 64
  streamed = data.load_imagenet(f'folder:{images}', size=8)
  assert len(streamed.fingerprint) == 64


@pytest.mark.parametrize(
  ('channels', 'shape'), [('rgb', (4, 6, 3)), ('gray', (4, 6, 1))]
)
def test_images_are_converted_on_request(images, tmp_path, channels, shape):
  colored = data.load(f'folder:{images}', channels=channels)
  assert colored.image_shape == shape
  gray = tmp_path / 'gray'
  for split in ('train', 'test'):
    save(gray / split / 'x' / 'a.png', GREY, mode='L')
    save(gray / split / 'y' / 'a.png', RED, mode='L')
  loaded = data.load(f'folder:{gray}', channels=channels)
  assert loaded.image_shape == shape
  assert loaded.train.images[0].min() == loaded.train.images[0].max() == 9
  # Red has a luma of 76.
  assert colored.train.images[1, 0, 0, 0] == (255 if channels == 'rgb' else 76)
  assert loaded.train.images[1, 0, 0, -1] == 76


def test_images_that_do_not_fit_into_memory(images, monkeypatch):
  monkeypatch.setattr(memory, 'host_memory', lambda: 200)
  with pytest.raises(ValueError, match=r'6 images of 6x4 pixels would take'):
    load(images)


def test_object_stores_are_named(images):
  with pytest.raises(ValueError, match='gs://b/x is a URL'):
    data.load('folder:gs://b/x')
