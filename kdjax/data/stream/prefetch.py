"""Prefetches the items of an iterator in a thread."""

import queue
import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar('T')

_POLL_SECONDS = 0.1  # between two checks whether the iterator has been closed


class Prefetcher(Iterator[T], Generic[T]):
  """The items of an iterator in their order, produced ahead in a thread.

  An exception of the iterator is raised by `next` instead of its item.
  """

  def __init__(self, items: Iterator[T], count: int = 2):
    """Starts the thread.

    Args:
      items: The iterator.
      count: Items that are kept ready, besides the one being produced.
    """
    self._ready: queue.Queue = queue.Queue(count)
    self._closed = threading.Event()
    # A daemon, so that a process that ends early does not wait for it.
    self._thread = threading.Thread(
      target=self._produce, args=(items,), daemon=True
    )
    self._thread.start()

  def __next__(self) -> T:
    """Returns the next item, and waits until it is ready."""
    if self._closed.is_set():
      raise StopIteration
    item, error = self._ready.get()
    if error is not None:
      self._closed.set()
      raise error
    return item

  def close(self) -> None:
    """Ends the thread after the item that is being produced."""
    self._closed.set()
    self._thread.join()

  def _produce(self, items: Iterator[T]) -> None:
    try:
      for item in items:
        if not self._put((item, None)):
          return
      self._put((None, StopIteration()))
    except Exception as error:  # raised again by `__next__`
      self._put((None, error))

  def _put(self, entry: tuple) -> bool:
    """Waits for room in the queue; False if closed in the meantime."""
    while not self._closed.is_set():
      try:
        self._ready.put(entry, timeout=_POLL_SECONDS)
        return True
      except queue.Full:
        continue
    return False
