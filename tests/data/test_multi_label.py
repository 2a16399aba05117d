import dataclasses
import json

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
      "not in COCO's format.*KeyError 7",
    ),
    (
      json.dumps({'images': [], 'annotations': [], 'categories': []}),
      'different categories',
    ),
  ],
)
def test_invalid_annotations_raise_an_error(folder, content, message):
  (folder / 'val.json').write_text(content)
  with pytest.raises(ValueError, match=message):
    load_multi_label(f'coco:{folder}')


def test_dataset_without_labels_raises_an_error(folder):
  streams.write_coco(folder, 'train', 0 * LABELS)
  with pytest.raises(ValueError, match='no images'):
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
