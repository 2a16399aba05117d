import dataclasses

import numpy as np
import pytest

from kdjax.data.images import EncodedImage
from kdjax.data.stream.reading import Reading
from kdjax.data.stream.split import StreamedSplit
from kdjax.data.stream.views import Whole
from tests.data import streams


def _batches(stream, count):
  found = [next(stream) for _ in range(count)]
  stream.close()
  return {name: np.stack([batch[name] for batch in found]) for name in found[0]}


def test_images_are_decoded_to_rgb_and_match_their_labels():
  made = streams.split(6)
  stream = made.in_order(4)
  first, rest = stream
  stream.close()
  assert first['image'].shape == (4, *made.image_shape)
  assert first['image'].dtype == np.uint8
  np.testing.assert_array_equal(rest['decoded'], [True, True, False, False])
  np.testing.assert_array_equal(rest['index'][:2], [4, 5])
  np.testing.assert_array_equal(rest['image'][:2, 0, 0], [[40] * 3, [50] * 3])
  np.testing.assert_array_equal(rest['label'][:2], [[0, 0, 1], [1, 0, 1]])


def test_each_epoch_is_a_different_permutation():
  found = _batches(streams.split().shuffled(3, 4), 5)
  order = found['index'].reshape(2, 10)
  np.testing.assert_array_equal(np.sort(order), [np.arange(10)] * 2)
  assert (order[0] != order[1]).any()
  np.testing.assert_array_equal(
    found['image'][..., 0, 0, 0], 10 * found['index']
  )


def test_labels_may_be_a_tree_of_arrays():
  made = streams.split(6)
  boxes = np.arange(48.0).reshape(6, 2, 4)
  tree = {'boxes': boxes, 'more': {'classes': made.labels}}
  stream = dataclasses.replace(made, labels=tree).in_order(4)
  _, rest = stream
  stream.close()
  np.testing.assert_array_equal(rest['label']['boxes'][:2], boxes[4:])
  np.testing.assert_array_equal(
    rest['label']['more']['classes'][:2], made.labels[4:]
  )
  with pytest.raises(ValueError, match=r"6 images but 5 labels in \['boxes'\]"):
    dataclasses.replace(made, labels={**tree, 'boxes': boxes[:5]})


@pytest.mark.parametrize('broken', [(), (0, 3, 4)])
def test_a_resumed_stream_has_the_same_images(broken):
  made = streams.split(broken=broken, broken_images='skip')
  whole = _batches(made.shuffled(5, 6), 4)
  for first in (1, 3):
    rest = _batches(made.shuffled(5, 6, first=first), 4 - first)
    for name, rows in rest.items():
      np.testing.assert_array_equal(rows, whole[name][first:])


@pytest.mark.parametrize('rows', [[0, 1, 2], [3, 5], [4]])
def test_rows_of_a_batch_are_the_same_in_every_process(rows):
  made = streams.split(broken=(0, 3, 4), broken_images='skip')
  asked = []
  files = streams.Noting(made.files.contents, asked)
  share = dataclasses.replace(made, files=files)

  def check(whole, part):
    want, got = _batches(whole, 2), _batches(part, 2)
    for name, values in got.items():
      np.testing.assert_array_equal(values, want[name][:, rows])

  check(made.in_order(6, count=9), share.in_order(6, count=9, rows=rows))
  # No rows of others are decoded.
  places = {6 * batch + row for batch in range(2) for row in rows}
  assert sorted(asked) == sorted(place for place in places if place < 9)
  check(made.shuffled(5, 6), share.shuffled(5, 6, rows=rows))


@pytest.mark.slow
def test_worker_processes_give_the_same_batches():
  settings = {'broken': (2, 7), 'broken_images': 'skip'}
  want = _batches(streams.split(**settings).shuffled(1, 4), 6)
  made = streams.split(**settings, workers=2)
  got = _batches(made.shuffled(1, 4), 6)
  for name, rows in want.items():
    np.testing.assert_array_equal(got[name], rows)


def test_broken_images_are_counted_and_replaced():
  broken = (1, 2)
  made = streams.split(broken=broken, broken_images='skip')
  found = _batches(made.shuffled(0, 10), 3)
  assert not np.isin(found['index'], broken).any()
  assert found['decoded'].all()
  assert found['skipped'].sum() >= 2 * 3  # each of them in each epoch
  order = _batches(streams.split().shuffled(0, 10), 1)['index']
  kept = found['skipped'][0] == 0
  np.testing.assert_array_equal(found['index'][0][kept], order[0][kept])


def test_broken_images_are_left_out_in_order():
  made = streams.split(broken=(1, 2), broken_images='skip')
  batch = _batches(made.in_order(10), 1)
  (decoded,) = batch['decoded']
  np.testing.assert_array_equal(np.flatnonzero(decoded), [0, *range(3, 10)])
  assert batch['skipped'].sum() == 2


def test_broken_image_raises_an_error_with_its_name():
  stream = streams.split(broken=(1,)).in_order(4)
  with pytest.raises(ValueError, match=r'image 1.*--broken_images=skip'):
    next(stream)
  stream.close()


@pytest.mark.slow
def test_dataset_of_broken_images_only_raises_an_error():
  made = streams.split(3, broken=(0, 1, 2), broken_images='skip')
  stream = made.shuffled(0, 2)
  with pytest.raises(ValueError, match='none of 100 images in a row'):
    next(stream)
  stream.close()


def test_truncated_file_raises_an_error():
  whole = streams.png(200, (64, 64))
  view, random = Whole((2, 2)), np.random.default_rng(0)
  assert view(EncodedImage(whole, 'a.png'), random).shape == (2, 2, 3)
  with pytest.raises(ValueError, match=r'cannot decode a\.png: .*truncated'):
    view(EncodedImage(whole[: len(whole) // 2], 'a.png'), random)


def test_invalid_splits_and_settings_raise_errors():
  with pytest.raises(ValueError, match='1 images but 2 labels'):
    StreamedSplit(
      files=streams.InMemory((b'',)),
      labels=np.zeros((2, 3)),
      view=Whole((4, 4)),
    )
  with pytest.raises(ValueError, match='no images'):
    StreamedSplit(
      files=streams.InMemory(()), labels=np.zeros((0, 3)), view=Whole((4, 4))
    )
  with pytest.raises(ValueError, match='at least one image, got 0'):
    streams.split().in_order(0)
  with pytest.raises(ValueError, match='workers must be zero or more'):
    Reading(workers=-1)
