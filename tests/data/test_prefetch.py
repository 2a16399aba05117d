import itertools
import threading
import time

import pytest

from kdjax.data.stream.prefetch import Prefetcher


def test_gives_the_items_in_their_order_and_ends():
  items = Prefetcher(iter(range(7)))
  assert list(items) == list(range(7))
  assert list(items) == []
  items.close()


def test_produces_no_more_than_is_asked_for_and_buffered():
  made = []

  def make():
    for item in itertools.count():
      made.append(item)
      yield item

  items = Prefetcher(make(), 2)
  assert [next(items) for _ in range(3)] == [0, 1, 2]
  limit = time.monotonic() + 5
  while len(made) < 6 and time.monotonic() < limit:
    time.sleep(0.01)
  time.sleep(0.05)
  items.close()
  assert made == list(range(6))  # two are ready, one is being produced


def test_raises_an_exception_in_the_place_of_its_item():
  def make():
    yield 1
    raise ValueError('the second cannot be made')

  items = Prefetcher(make())
  assert next(items) == 1
  with pytest.raises(ValueError, match='the second'):
    next(items)
  items.close()


def test_leaves_no_thread_behind():
  before = threading.active_count()
  items = Prefetcher(itertools.count())
  next(items)
  items.close()
  assert threading.active_count() == before
