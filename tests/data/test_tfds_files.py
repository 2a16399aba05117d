import importlib.util
import pickle
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.object_detection import voc

from kdjax.data import DataUnavailableError
from kdjax.data.stream.multi_label import load_multi_label

# Classes by number, and whether the object is difficult.
OBJECTS = {
  'train': [[(0, False), (3, True)], [(1, False)]],
  'val': [[(2, True)]],
  'test': [[(0, True), (0, False), (1, True)], [(4, False)]],
}


class Voc(voc.Voc, skip_registration=True):
  """VOC builder of TFDS with a few synthetic images."""

  pkg_dir_path = None

  def _split_generators(self, dl_manager):
    names = {'test': 'test', 'train': 'train', 'validation': 'val'}
    return {
      split: self._generate_examples(None, name)
      for split, name in names.items()
    }

  def _generate_examples(self, data_path, set_name):
    for number, objects in enumerate(OBJECTS[set_name]):
      plain = {label for label, difficult in objects if not difficult}
      yield (
        number,
        {
          'image': Image.new('RGB', (6, 6), (50 * number,) * 3),
          'image/filename': f'{number}.jpg',
          'objects': [
            {
              'label': label,
              'bbox': tfds.features.BBox(0.0, 0.0, 1.0, 1.0),
              'pose': 0,
              'is_truncated': False,
              'is_difficult': difficult,
            }
            for label, difficult in objects
          ],
          'labels': sorted({label for label, _ in objects}),
          'labels_no_difficult': sorted(plain),
        },
      )


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  folder = tmp_path_factory.mktemp('tfds')
  builder = Voc(config='2007', data_dir=folder)
  builder.download_and_prepare(file_format='array_record')
  return folder


def test_difficult_objects_of_voc_are_for_training_only(data_dir):
  made = load_multi_label('voc2007', size=6, data_dir=data_dir)
  assert made.class_names[:2] == ('aeroplane', 'bicycle')
  assert made.num_classes == 20
  # As stored, which is no order of the original files: sorted to compare.
  train, test = (
    sorted(s.labels[:, :5].tolist()) for s in (made.train, made.test)
  )
  assert train == [[0, 0, 1, 0, 0], [0, 1, 0, 0, 0], [1, 0, 0, 1, 0]]
  assert test == [[0, 0, 0, 0, 1], [1, -1, 0, 0, 0]]
  again = load_multi_label('voc2007', size=6, data_dir=data_dir)  # now cached
  assert again.fingerprint == made.fingerprint


def test_images_match_their_labels_and_files_can_be_pickled(data_dir):
  made = load_multi_label('voc2007', size=6, data_dir=data_dir)
  files = made.test.files
  stream = made.test.in_order(2)
  batch = next(stream)
  stream.close()
  levels = batch['image'][:, 0, 0, 0].tolist()
  shown = [int(row.argmax()) for row in batch['label']]
  assert dict(zip(levels, shown)) == {0: 0, 50: 4}
  sent = pickle.loads(pickle.dumps(files))
  assert sent.read(1) == files.read(1)


def test_unavailable_dataset_error_names_the_alternative(tmp_path, monkeypatch):
  # As where TensorFlow is not installed; with it this would be a download.
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  with pytest.raises(ValueError, match=r'--dataset=coco:PATH'):
    load_multi_label('coco2014', data_dir=tmp_path)


def test_damaged_dataset_error_says_how_to_prepare_it(data_dir, tmp_path):
  broken = tmp_path / 'voc/2007/5.0.0'
  broken.mkdir(parents=True)
  info = data_dir / 'voc/2007/5.0.0/dataset_info.json'
  (broken / 'dataset_info.json').write_text(info.read_text())
  with pytest.raises(ValueError, match=r"file_format='array_record'"):
    load_multi_label('voc2007', data_dir=tmp_path)


@pytest.fixture
def copied(data_dir, tmp_path):
  """A copy of the prepared dataset whose labels are cached."""
  load_multi_label('voc2007', size=6, data_dir=data_dir)
  shutil.copytree(data_dir, tmp_path, dirs_exist_ok=True)
  return tmp_path / 'voc/2007/5.0.0'


def load(copied):
  return load_multi_label('voc2007', size=6, data_dir=copied.parents[2])


@pytest.mark.parametrize('file', ['dataset_info.json', 'features.json'])
@pytest.mark.parametrize('content', ['', '{', '[1]'])
def test_broken_descriptions_are_named(copied, file, content):
  (copied / file).write_text(content)
  with pytest.raises(DataUnavailableError, match='cannot be read'):
    load(copied)


def test_label_names_that_grew_are_refused(copied):
  (names,) = copied.glob('objects-label.labels.txt')
  names.write_text(names.read_text() + 'unicorn\n')
  with pytest.raises(DataUnavailableError, match='names 21 of 20 classes'):
    load(copied)


@pytest.mark.parametrize('damage', ['flip', 'truncate', 'other classes'])
def test_damaged_cached_labels_are_read_again(copied, damage):
  whole = load(copied).fingerprint
  cached = copied / 'kdjax_labels.npz'
  content = bytearray(cached.read_bytes())
  if damage == 'other classes':
    with np.load(cached) as stored:
      narrow = {name: array[:, :19] for name, array in stored.items()}
    np.savez(cached, **narrow)
  else:
    place = content.index(b'NUMPY') + 128  # in the labels
    content[place] ^= 1
    cached.write_bytes(content if damage == 'flip' else content[:-50])
  assert load(copied).fingerprint == whole
