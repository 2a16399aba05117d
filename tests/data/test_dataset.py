import dataclasses

import numpy as np
import pytest

from kdjax.data import Augmentation, Dataset, Split, limit_per_class

BOXES = {
  'boxes': np.arange(48.0).reshape(6, 2, 4),
  'classes': np.arange(12, dtype=np.int32).reshape(6, 2) % 3,
}


def split(count=6, classes=3, shape=(4, 4, 3), seed=0, labels=None):
  images = np.random.default_rng(seed).integers(0, 256, (count, *shape))
  if labels is None:
    labels = (np.arange(count) % classes).astype(np.int32)
  return Split(images.astype(np.uint8), labels)


def dataset(**changes):
  settings = {
    'name': 'tiny',
    'train': split(),
    'test': split(3),
    'num_classes': 3,
    'class_names': ('a', 'b', 'c'),
    'mean': (0.5, 0.5, 0.5),
    'std': (0.2, 0.2, 0.2),
    'augment': Augmentation(),
  }
  return Dataset(**(settings | changes))


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'test': split(shape=(4, 4, 1))}, r'\(4, 4, 3\) but test images \(4, 4,'),
    ({'num_classes': 2}, r'training labels must be in \[0, 1\].*got 0 to 2'),
    ({'test': split(classes=5)}, r'test labels must be in \[0, 2\].*0 to 4'),
    ({'train': split(labels=np.zeros(6))}, r'training labels.*got float64'),
    ({'train': split(labels=BOXES)}, r'training labels are .*but test labels'),
    ({'class_names': ('a', 'b')}, '2 class names for 3 classes'),
    ({'mean': (0.5,)}, 'need 3 values, one per channel, got 1 and 3'),
    ({'std': (0.2, 0.2, 0.0)}, r'must be positive, got \(0\.2, 0\.2, 0\.0\)'),
  ],
)
def test_inconsistent_parts_raise_an_error(changes, message):
  with pytest.raises(ValueError, match=f'tiny: .*{message}'):
    dataset(**changes)


@pytest.mark.parametrize(
  ('images', 'labels', 'message'),
  [
    (np.zeros((2, 4, 4), np.uint8), np.zeros(2, np.int32), r'got shape \(2, 4'),
    (np.zeros((2, 4, 4, 1)), np.zeros(2, np.int32), 'got float64'),
    (np.zeros((2, 4, 4, 1), np.uint8), [1, 2], 'be a NumPy array.*got int'),
    (
      np.zeros((2, 4, 4, 1), np.uint8),
      {'boxes': np.zeros((2, 3, 4)), 'classes': np.zeros((1, 3))},
      r"2 images but 1 labels in \['classes'\]",
    ),
    (np.zeros((2, 4, 4, 1), np.uint8), np.zeros(3, np.int32), '2 images but 3'),
    (np.zeros((0, 4, 4, 1), np.uint8), np.zeros(0, np.int32), 'no images'),
  ],
)
def test_invalid_splits_raise_an_error(images, labels, message):
  with pytest.raises(ValueError, match=message):
    Split(images, labels)


def test_fingerprint_depends_on_the_contents():
  one = dataset()
  assert one.fingerprint == dataset(name='other', mean=(0, 0, 0)).fingerprint
  changed = one.train.images.copy()
  changed[3, 2, 1, 0] ^= 1
  train = dataclasses.replace(one.train, images=changed)
  swapped = Split(one.train.images, one.train.labels[::-1])
  others = [
    dataset(train=train),
    dataset(train=swapped),
    dataset(class_names=('a', 'b', 'd')),
    dataset(train=split(5)),
  ]
  assert len({one.fingerprint, *(d.fingerprint for d in others)}) == 5


def test_labels_may_be_a_tree_of_arrays():
  made = dataset(train=split(labels=BOXES), test=split(labels=BOXES))
  assert len(made.train) == 6
  assert made.train.labels['boxes'].shape == (6, 2, 4)
  moved = {**BOXES, 'boxes': BOXES['boxes'] + 1}
  renamed = {'corners': BOXES['boxes'], 'classes': BOXES['classes']}
  others = [
    dataset(train=split(labels=tree), test=split(labels=tree))
    for tree in (moved, renamed)
  ]
  prints = {made.fingerprint, *(each.fingerprint for each in others)}
  assert len(prints) == 3


def test_the_length_of_a_split_is_its_number_of_images():
  several = np.zeros((6, 4), np.int8)  # one column per class
  assert len(split(labels=several)) == 6
  assert len(split(labels={'none': {}})) == 6


@pytest.mark.parametrize(
  ('labels', 'got'),
  [
    (BOXES, r"a tree with \['boxes'\], \['classes'\]"),
    (np.zeros((6, 3), np.int8), r'int8 of shape \(6, 3\)'),
  ],
)
def test_limit_per_class_requires_one_class_per_image(labels, got):
  with pytest.raises(ValueError, match=f'limit counts images per.*{got}'):
    limit_per_class(split(labels=labels), 2)


def test_limit_keeps_the_order_and_all_of_small_classes():
  whole = Split(split(30).images, np.r_[np.zeros(28), 1, 2].astype(np.int32))
  part = limit_per_class(whole, 4, seed=3)
  np.testing.assert_array_equal(part.labels, [0, 0, 0, 0, 1, 2])
  position = [
    next(i for i, other in enumerate(whole.images) if (other == image).all())
    for image in part.images
  ]
  assert position == sorted(position)
  everything = limit_per_class(whole, 28)
  np.testing.assert_array_equal(everything.images, whole.images)


@pytest.mark.parametrize('start', [0, 1, 16])
def test_images_are_aligned_for_devices(start):
  made = split()
  room = np.empty(made.images.nbytes + 128, np.uint8)
  start += -room.ctypes.data % 64
  given = room[start : start + made.images.nbytes].reshape(made.images.shape)
  given[...] = made.images
  taken = Split(given, made.labels)
  np.testing.assert_array_equal(taken.images, given)
  assert taken.images.ctypes.data % 64 == 0
  again = Split(taken.images, made.labels)
  assert again.images is taken.images


def test_images_are_made_contiguous():
  made = split()
  turned = Split(made.images.transpose(0, 2, 1, 3), made.labels)
  np.testing.assert_array_equal(
    turned.images.transpose(0, 2, 1, 3), made.images
  )
  assert turned.images.flags.c_contiguous
