"""SIGTERM, SIGHUP and Ctrl-C: the run saves when it next can and stops."""

import contextlib
import signal
from collections.abc import Iterator
from typing import NoReturn

from kdjax.runtime.mesh import Devices


class Interrupted(Exception):
  """A run stopped because of a signal; its state is saved.

  Attributes:
    signal_number: Number of the signal.
  """

  def __init__(self, signal_number: int):
    super().__init__(f'stopped by {signal.Signals(signal_number).name}')
    self.signal_number = signal_number


class StopRequest:
  """Record of whether a signal has asked this process to stop.

  Attributes:
    signal_number: Number of the signal; 0 if none has arrived.
  """

  signal_number: int = 0

  @property
  def asked(self) -> bool:
    """Whether a signal has arrived in this process."""
    return bool(self.signal_number)

  def stop(self) -> NoReturn:
    """Raises `Interrupted`.

    Raises:
      Interrupted: Always; with SIGTERM if only another process got a signal.
    """
    raise Interrupted(self.signal_number or signal.SIGTERM)


def stop_if_asked(request: StopRequest, devices: Devices) -> None:
  """Stops if a signal has arrived in any process; collective.

  Args:
    request: The request of this process.
    devices: Devices of the run, over all of its processes.

  Raises:
    Interrupted: If a signal has arrived.
  """
  if devices.any(request.asked):
    request.stop()


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
  """Turns the first SIGTERM, SIGINT or SIGHUP into a request.

  A second signal kills. SIGHUP, which a terminal sends when it closes, stays
  ignored where it is, as under `nohup`. Outside of the main thread, where
  Python cannot handle signals, nothing is requested.

  Yields:
    The request, which a signal sets.
  """
  request = StopRequest()
  signals = _signals()
  try:
    previous = {number: signal.getsignal(number) for number in signals}

    def handle(number, frame):
      del frame
      request.signal_number = number
      for each in signals:
        signal.signal(each, previous[each])

    for number in signals:
      signal.signal(number, handle)
  except ValueError:  # not the main thread, as in a notebook's executor
    yield request
    return
  try:
    yield request
  finally:
    for number in signals:
      signal.signal(number, previous[number])


def _signals() -> tuple[int, ...]:
  """Returns the signals that ask for a stop."""
  hangup = getattr(signal, 'SIGHUP', None)  # Windows has none
  if hangup is None or signal.getsignal(hangup) == signal.SIG_IGN:
    return signal.SIGTERM, signal.SIGINT
  return signal.SIGTERM, signal.SIGINT, hangup
