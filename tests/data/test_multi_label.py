import dataclasses
import json
import os

import numpy as np
import pytest

from kdjax.data.stream.multi_label import load_multi_label
from tests.data import streams
from tests.shared import SHARED, needs_shared

LABELS = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1]])


@pytest.fixture
def folder(tmp_path):
  streams.write_coco(tmp_path, 'train', LABELS)
  streams.write_coco(tmp_path, 'val', LABELS[2:])
  return tmp_path


def test_labels_are_ordered_by_category_id(
  folder,
):
  made = load_multi_label(f'coco:{folder}', size=8)
  assert made.class_names == streams.CLASSES
  assert made.image_shape == (8, 8, 3)
  assert made.left_out == 1
  np.testing.assert_array_equal(made.train.labels, LABELS[[0, 2, 3]])
  np.testing.assert_array_equal(made.test.labels, LABELS[2:])
  stream = made.train.in_order(3)
  levels = next(stream)['image'][:, 0, 0, 0]
  stream.close()
  np.testing.assert_array_equal(levels, [0, 20, 30])


def test_images_without_labels_are_kept_on_request(folder):
  made = load_multi_label(f'coco:{folder}', keep_unlabelled=True)
  assert made.left_out == 0
  np.testing.assert_array_equal(made.train.labels, LABELS)


def test_fingerprint_depends_on_labels_size_and_unlabelled_images(folder):
  def fingerprint(**settings):
    return load_multi_label(f'coco:{folder}', **settings).fingerprint

  before = fingerprint()
  assert fingerprint() == before
  others = {fingerprint(size=9), fingerprint(keep_unlabelled=True)}
  streams.write_coco(folder, 'val', LABELS[1:])
  assert len({before, *others, fingerprint()}) == 4


def test_fingerprint_depends_on_a_tree_of_labels(folder):
  made = load_multi_label(f'coco:{folder}')
  classes = made.train.labels

  def fingerprint(labels):
    train = dataclasses.replace(made.train, labels=labels)
    return dataclasses.replace(made, train=train).fingerprint

  trees = [{'a': classes}, {'b': classes}, {'a': 1 - classes}]
  prints = [fingerprint(labels) for labels in (classes, *trees)]
  assert len({made.fingerprint, *prints}) == 4
  assert prints[0] == made.fingerprint


def test_missing_image_raises_an_error_with_its_name(folder):
  (folder / 'train2.png').unlink()
  stream = load_multi_label(f'coco:{folder}').train.in_order(3)
  with pytest.raises(ValueError, match=r'cannot read .*train2\.png: .*No such'):
    next(stream)
  stream.close()


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    ('{"images": [', 'not readable JSON'),
    ('[]', "not in COCO's format"),
    ('{"images": [], "annotations": []}', "not in COCO's format.*categories"),
    (
      json.dumps(
        {
          'images': [{'id': 1, 'file_name': 'a.png'}],
          'annotations': [{'image_id': 1, 'category_id': 7}],
          'categories': [],
        }
      ),
      r'1 category ids that "categories" does not list: 7',
    ),
    (
      json.dumps({'images': [], 'annotations': [], 'categories': []}),
      r'3, of which 3 are in training alone \(dot, bar, ring\), and 0, of',
    ),
    ('[' * 100_000, 'not readable JSON'),
    ('{"images": [{"id": 1}, {"id": 1}]}', "not in COCO's format.*categories"),
    (
      json.dumps(
        {
          'images': [{'id': 1, 'file_name': 'a'}, {'id': '1'}],
          'annotations': [],
          'categories': [],
        }
      ),
      '"images" lists the id 1 twice',
    ),
    (
      json.dumps(
        {'images': [{'id': [1]}], 'annotations': [], 'categories': []}
      ),
      'an id must be a whole number or text',
    ),
    (
      json.dumps(
        {
          'images': [{'id': 1, 'file_name': 'a\0.png'}],
          'annotations': [],
          'categories': [],
        }
      ),
      'cannot be the path of a file',
    ),
  ],
)
def test_invalid_annotations_raise_an_error(folder, content, message):
  (folder / 'val.json').write_text(content)
  with pytest.raises(ValueError, match=message):
    load_multi_label(f'coco:{folder}')


@pytest.mark.parametrize('keep', [False, True])
@pytest.mark.parametrize(
  ('split', 'which'), [('train', 'training'), ('val', 'test')]
)
def test_split_without_labels_raises_an_error(folder, split, which, keep):
  streams.write_coco(folder, split, 0 * LABELS)
  message = f'not one of 4 {which} images has a label.*0 annotations of 3 cat'
  with pytest.raises(ValueError, match=message):
    load_multi_label(f'coco:{folder}', keep_unlabelled=keep)


def rewrite(file, change, encoding='utf-8'):
  content = json.loads(file.read_text())
  change(content)
  file.write_text(json.dumps(content), encoding)


@pytest.mark.parametrize('kind', [str, float])
def test_ids_may_be_written_in_another_way(folder, kind):
  whole = load_multi_label(f'coco:{folder}')

  def change(content):
    for box in content['annotations']:
      box['image_id'] = kind(box['image_id'])
      box['category_id'] = kind(box['category_id'])

  rewrite(folder / 'train.json', change)
  made = load_multi_label(f'coco:{folder}')
  assert made.fingerprint == whole.fingerprint


def test_annotations_of_unlisted_images_are_counted(folder):
  def change(content):
    content['annotations'] += [{'image_id': 'x', 'category_id': 10}] * 2

  rewrite(folder / 'train.json', change)
  with pytest.warns(UserWarning, match=r'2 of 14 annotations.*image_id: x\.'):
    made = load_multi_label(f'coco:{folder}')
  np.testing.assert_array_equal(made.train.labels, LABELS[[0, 2, 3]])


def test_a_file_of_only_unlisted_images_has_no_label(folder):
  def change(content):
    for box in content['annotations']:
      box['image_id'] = f'image {box["image_id"]}'

  rewrite(folder / 'train.json', change)
  with (
    pytest.warns(UserWarning, match='12 of 12 annotations'),
    pytest.raises(ValueError, match='not one of 4 training images has a label'),
  ):
    load_multi_label(f'coco:{folder}')


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16'])
def test_a_byte_order_mark_is_accepted(folder, encoding):
  whole = load_multi_label(f'coco:{folder}')
  rewrite(folder / 'train.json', lambda content: None, encoding)
  made = load_multi_label(f'coco:{folder}')
  assert made.fingerprint == whole.fingerprint


@pytest.mark.parametrize('name', ['valid', 'validation'])
def test_other_names_of_the_test_split(folder, name):
  (folder / 'val.json').rename(folder / f'{name}.json')
  assert len(load_multi_label(f'coco:{folder}').test) == 2


def test_a_folder_for_each_split(folder):
  for split, name in (('train', 'train'), ('val', 'valid')):
    (folder / name).mkdir()
    file = folder / f'{split}.json'
    file.rename(folder / name / '_annotations.coco.json')
    for image in folder.glob(f'{split}*.png'):
      image.rename(folder / name / image.name)
  made = load_multi_label(f'coco:{folder}', size=8)
  stream = made.test.in_order(2)
  assert next(stream)['decoded'].all()
  stream.close()


def test_many_different_categories_are_counted(folder):
  names = [f'kind {number}' for number in range(3000)]
  labels = np.eye(3000, dtype=int)[:2]
  streams.write_coco(folder, 'val', labels, names)
  with pytest.raises(ValueError, match='3,000, of which 3,000 are') as error:
    load_multi_label(f'coco:{folder}')
  assert len(str(error.value)) < 500


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='no pipes here')
def test_a_pipe_of_annotations_is_refused(folder):
  (folder / 'val.json').unlink()
  os.mkfifo(folder / 'val.json')
  with pytest.raises(ValueError, match='it is not a regular file'):
    load_multi_label(f'coco:{folder}')


def test_unknown_datasets_and_empty_folders_raise_errors(tmp_path):
  with pytest.raises(ValueError, match="did you mean 'voc2007'"):
    load_multi_label('voc07')
  with pytest.raises(ValueError, match=r'looked for .*train\.json'):
    load_multi_label(f'coco:{tmp_path}')
  with pytest.raises(ValueError, match='image size must be at least 1'):
    load_multi_label(f'coco:{tmp_path}', size=0)


@needs_shared
def test_small_coco_dataset_is_loaded():
  made = load_multi_label(f'coco:{SHARED}/data/detection_small/coco', size=32)
  assert (len(made.train), len(made.test), made.left_out) == (86, 68, 2)
  assert made.num_classes == 80
  assert (made.train.labels.any(0).sum(), made.test.labels.any(0).sum()) == (
    68,
    66,
  )
  stream = made.test.in_order(68)
  assert next(stream)['decoded'].sum() == 68
  stream.close()
