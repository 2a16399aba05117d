import dataclasses
import importlib.util
import io

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from kdjax.data import Reading, load_imagenet, unread_imagenet
from kdjax.data.files import open_image
from kdjax.data.stream.views import CenterCrop

CLASSES = ('bee', 'cat', 'dog')


def _pixels(seed, size):
  random = np.random.default_rng(seed)
  noise = random.integers(0, 256, (*size, 3)).astype(np.uint8)
  return Image.fromarray(noise).resize((40, 30))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """Twelve training and six test images of three classes."""
  made = tmp_path_factory.mktemp('classes')
  for split, count in (('train', 12), ('val', 6)):
    for number in range(count):
      path = made / split / CLASSES[number % 3] / f'{number:02}.JPEG'
      path.parent.mkdir(parents=True, exist_ok=True)
      _pixels(number, (3, 4)).save(path)
  return made


def _load(folder, **settings):
  return load_imagenet(f'folder:{folder}', size=8, **settings)


def _take(stream, count):
  found = [next(stream) for _ in range(count)]
  stream.close()
  return {name: np.stack([batch[name] for batch in found]) for name in found[0]}


def test_classes_are_folders_and_images_are_not_loaded(folder):
  made = _load(folder)
  assert made.class_names == CLASSES
  assert made.image_shape == (8, 8, 3)
  np.testing.assert_array_equal(made.train.labels, np.repeat([0, 1, 2], 4))
  assert made.train.labels.dtype == np.int32
  assert made.test.files.name(2) == str(folder / 'val/cat/01.JPEG')
  assert made.fingerprint == _load(folder).fingerprint
  assert made.fingerprint != _load(folder, limit=3).fingerprint


def test_images_in_order_are_center_crops(folder):
  made = _load(folder)
  view = CenterCrop((8, 8), 9)  # 256/224 of 8, to a pixel
  for split in (made.train, made.test):
    batch = _take(split.in_order(6), 1)
    for row in range(6):
      image = open_image(split.files, row)
      want = view(image, np.random.default_rng(0))
      np.testing.assert_array_equal(batch['image'][0, row], want)


def test_random_crops_depend_on_position_and_seed_only(folder):
  train = _load(folder).train
  whole = _take(train.shuffled(3, 5), 6)
  rest = _take(train.shuffled(3, 5, first=2), 2)
  mine = _take(train.shuffled(3, 5, first=2, rows=[1, 4]), 2)
  for name, rows in whole.items():
    np.testing.assert_array_equal(rest[name], rows[2:4])
    np.testing.assert_array_equal(mine[name], rows[2:4, [1, 4]])
  index, image = whole['index'].ravel(), whole['image'].reshape(30, -1)
  views = image[index == 0]
  assert len(views) >= 2  # of two and a half epochs
  assert (views[0] != views[1]).any()
  assert (whole['image'] != _take(train.shuffled(4, 5), 6)['image']).any()


@pytest.mark.slow
def test_worker_processes_draw_the_same_crops(folder):
  here = _take(_load(folder).train.shuffled(1, 5), 6)
  there = _load(folder, reading=Reading(workers=2, threads=1))
  for name, rows in _take(there.train.shuffled(1, 5), 6).items():
    np.testing.assert_array_equal(rows, here[name])


def test_limit_is_the_number_of_images_per_class(folder):
  few, fewer = (_load(folder, limit=limit).train for limit in (3, 2))
  np.testing.assert_array_equal(few.labels, np.repeat([0, 1, 2], 3))
  names = [
    {part.files.name(i) for i in range(len(part))} for part in (few, fewer)
  ]
  assert names[1] < names[0]
  with pytest.raises(ValueError, match='at least 1, got 0'):
    _load(folder, limit=0)


def test_train_and_test_views_of_different_sizes_raise_an_error(folder):
  train = _load(folder).train
  with pytest.raises(ValueError, match=r'\(8, 8\) and \(9, 9\)'):
    dataclasses.replace(train, train_view=CenterCrop((9, 9), 9))


def test_missing_datasets_raise_an_error(folder, tmp_path, monkeypatch):
  with pytest.raises(ValueError, match="did you mean 'imagenet2012'"):
    load_imagenet('imagenet')
  with pytest.raises(ValueError, match=r'no folder .*train\. Expected'):
    load_imagenet(f'folder:{tmp_path}')
  with pytest.raises(ValueError, match='image size must be at least 1'):
    load_imagenet(f'folder:{folder}', size=0)
  # As where TensorFlow is not installed.
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  with pytest.raises(ValueError, match='--dataset=folder:PATH'):
    load_imagenet(data_dir=tmp_path)


class Imagenet2012(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Stand-in for the builder of TFDS, which needs TensorFlow."""

  VERSION = tfds.core.Version('5.1.0')
  pkg_dir_path = None

  def _info(self):
    return tfds.core.DatasetInfo(
      builder=self,
      features=tfds.features.FeaturesDict(
        {
          'image': tfds.features.Image(encoding_format='jpeg'),
          'label': tfds.features.ClassLabel(names=CLASSES),
          'file_name': tfds.features.Text(),
        }
      ),
    )

  def _split_generators(self, dl_manager):
    return {'train': self._examples(5), 'validation': self._examples(3)}

  def _generate_examples(self):
    raise AssertionError('each split has its own')

  def _examples(self, count):
    for number in range(count):
      # A level for each class, so that labels can be read off images.
      level, name = 60 * (number % 3), f'{number}.JPEG'
      file = io.BytesIO()
      Image.new('RGB', (30, 20), (level,) * 3).save(file, 'jpeg')
      file.seek(0)
      yield name, {'image': file, 'label': number % 3, 'file_name': name}


def test_prepared_imagenet_is_evaluated_on_its_validation_split(tmp_path):
  builder = Imagenet2012(data_dir=tmp_path)
  builder.download_and_prepare(file_format='array_record')
  made = load_imagenet(size=8, data_dir=tmp_path)
  assert made.class_names == CLASSES
  assert (len(made.train), len(made.test)) == (5, 3)
  for split in (made.train, made.test):
    batch = _take(split.in_order(len(split)), 1)
    levels = np.round(batch['image'][0, :, 4, 4, 0] / 60)
    np.testing.assert_array_equal(levels, batch['label'][0])
  assert load_imagenet(size=8, data_dir=tmp_path).fingerprint == (
    made.fingerprint  # the labels are cached now
  )


def test_unread_imagenet_has_the_original_counts():
  made = unread_imagenet(8)
  assert (len(made.train), len(made.test)) == (1_281_167, 50_000)
  assert (made.num_classes, made.image_shape) == (1000, (8, 8, 3))
