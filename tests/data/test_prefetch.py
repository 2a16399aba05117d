import itertools
import threading
import time

import pytest

from kdjax.data.stream.prefetch import Prefetcher


def test_items_arrive_in_order():
  items = Prefetcher(iter(range(7)))
  assert list(items) == list(range(7))
  assert list(items) == []
  items.close()


def test_at_most_the_buffer_is_produced_in_advance():
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


def test_exception_is_raised_at_the_position_of_its_item():
  def make():
    yield 1
    raise ValueError('the second cannot be made')

  items = Prefetcher(make())
  assert next(items) == 1
  with pytest.raises(ValueError, match='the second'):
    next(items)
  items.close()


def test_close_ends_the_thread():
  before = threading.active_count()
  items = Prefetcher(itertools.count())
  next(items)
  items.close()
  assert threading.active_count() == before
