"""SIGTERM and Ctrl-C: the run saves at the next chance, to be resumed."""

import contextlib
import signal
from collections.abc import Iterator
from typing import NoReturn


class Interrupted(Exception):
  """A run stopped because it was asked to; its state is saved.

  Attributes:
    signal_number: What asked for it.
  """

  def __init__(self, signal_number: int):
    super().__init__(f'stopped by {signal.Signals(signal_number).name}')
    self.signal_number = signal_number


class StopRequest:
  """Whether a signal has asked the run to stop, and which."""

  signal_number: int = 0

  @property
  def asked(self) -> bool:
    """Whether a signal has come to this process."""
    return bool(self.signal_number)

  def stop(self) -> NoReturn:
    """Raises `Interrupted`; by SIGTERM if another process was asked."""
    raise Interrupted(self.signal_number or signal.SIGTERM)


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
  """Turns the first SIGTERM or SIGINT into a request; a second one kills."""
  request = StopRequest()
  names = (signal.SIGTERM, signal.SIGINT)
  try:
    before = {name: signal.getsignal(name) for name in names}

    def ask(number, frame):
      del frame
      request.signal_number = number
      for name in names:
        signal.signal(name, before[name])

    for name in names:
      signal.signal(name, ask)
  except ValueError:  # not the main thread (a notebook's executor): no signals
    yield request
    return
  try:
    yield request
  finally:
    for name in names:
      signal.signal(name, before[name])
