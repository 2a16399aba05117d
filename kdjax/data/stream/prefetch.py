"""Takes the next items of an iterator before they are asked for."""

import queue
import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar('T')

_LOOK = 0.1  # seconds between two looks whether anybody still wants an item


class Ahead(Iterator[T], Generic[T]):
  """The same items in the same order, made by a thread of its own.

  What making an item raises is raised where that item is asked for.
  """

  def __init__(self, items: Iterator[T], count: int = 2):
    """Starts the thread, which is `count` items ahead and one in its hands."""
    self._made: queue.Queue = queue.Queue(count)
    self._closed = threading.Event()
    # A process that ends for another reason does not wait for it.
    self._thread = threading.Thread(
      target=self._make, args=(items,), daemon=True
    )
    self._thread.start()

  def __next__(self) -> T:
    """The next item, waited for if it is not made yet."""
    if self._closed.is_set():
      raise StopIteration
    item, error = self._made.get()
    if error is not None:
      self._closed.set()
      raise error
    return item

  def close(self) -> None:
    """Ends the thread, behind the item that it is making."""
    self._closed.set()
    self._thread.join()

  def _make(self, items: Iterator[T]) -> None:
    try:
      for item in items:
        if not self._put((item, None)):
          return
      self._put((None, StopIteration()))
    except Exception as error:  # belongs to who asks
      self._put((None, error))

  def _put(self, made: tuple) -> bool:
    """Whether there was somebody to take it."""
    while not self._closed.is_set():
      try:
        self._made.put(made, timeout=_LOOK)
        return True
      except queue.Full:
        continue
    return False
