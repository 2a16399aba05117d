import numpy as np
import pytest

from kdjax.data.stream import Reading, StreamedSplit, decode
from tests.data import streams


def _indices(stream, batches, size=4):
  found = [stream.take(size)['index'] for _ in range(batches)]
  stream.close()
  return np.concatenate(found)


def test_images_are_decoded_to_rgb_and_resized_and_go_with_their_labels():
  made = streams.split(6)
  stream = made.in_order()
  first, rest, end = stream.take(4), stream.take(4), stream.take(4)
  stream.close()
  assert end is None
  assert first['image'].shape == (4, *made.image_shape)
  assert first['image'].dtype == np.uint8
  np.testing.assert_array_equal(rest['index'], [4, 5])
  np.testing.assert_array_equal(rest['image'][:, 0, 0], [[40] * 3, [50] * 3])
  np.testing.assert_array_equal(rest['label'], [[0, 0, 1], [1, 0, 1]])


def test_each_epoch_is_a_permutation_of_its_own():
  order = _indices(streams.split().shuffled(3), 5).reshape(2, 10)
  np.testing.assert_array_equal(np.sort(order), [np.arange(10)] * 2)
  assert (order[0] != order[1]).any()


@pytest.mark.parametrize('broken', [(), (0, 3, 4)])
def test_any_position_goes_on_with_the_same_images(broken):
  made = streams.split(broken=broken, broken_images='skip')
  stream = made.shuffled(5)
  places = []
  for _ in range(3):
    stream.take(6)
    places.append((stream.position, stream.skipped))
  stream.close()
  whole = _indices(made.shuffled(5), 4, 6)
  for batches, place in enumerate(places, start=1):
    again = _indices(made.shuffled(5, *place), 1, 6)
    np.testing.assert_array_equal(again, whole[6 * batches :][:6])


@pytest.mark.slow
def test_worker_processes_change_nothing():
  settings = {'broken': (2, 7), 'broken_images': 'skip'}
  want = _indices(streams.split(**settings).shuffled(1), 6)
  got = _indices(streams.split(**settings, workers=2).shuffled(1), 6)
  np.testing.assert_array_equal(got, want)


def test_what_does_not_decode_is_left_out_and_counted():
  stream = streams.split(broken=(1, 2), broken_images='skip').in_order()
  batch = stream.take(100)
  stream.close()
  np.testing.assert_array_equal(batch['index'], [0, *range(3, 10)])
  assert (stream.skipped, stream.position) == (2, 10)


def test_what_does_not_decode_stops_with_its_name_and_the_way_out():
  stream = streams.split(broken=(1,)).in_order()
  with pytest.raises(ValueError, match=r'image 1.*--broken_images=skip'):
    stream.take(4)
  stream.close()


def test_a_set_of_which_nothing_decodes_ends():
  made = streams.split(3, broken=(0, 1, 2), broken_images='skip')
  for stream in (made.shuffled(0), made.in_order()):
    with pytest.raises(ValueError, match=r'none of (the )?3 images'):
      stream.take(1)
    stream.close()


def test_a_truncated_file_does_not_decode():
  whole = streams.png(200, (64, 64))
  assert decode(whole, (2, 2)).shape == (2, 2, 3)
  with pytest.raises((OSError, SyntaxError)):
    decode(whole[: len(whole) // 2], (2, 2))


def test_bad_sets_and_settings_are_named():
  with pytest.raises(ValueError, match='1 images but 2 labels'):
    StreamedSplit(
      files=streams.InMemory((b'',)), labels=np.zeros((2, 3)), size=(4, 4)
    )
  with pytest.raises(ValueError, match='no images'):
    StreamedSplit(
      files=streams.InMemory(()), labels=np.zeros((0, 3)), size=(4, 4)
    )
  with pytest.raises(ValueError, match='workers must be zero or more'):
    Reading(workers=-1)
