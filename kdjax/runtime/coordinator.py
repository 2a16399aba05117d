"""Address of the process that connects the others, and waiting for it."""

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator

_ADDRESS = re.compile(r'(?:\[([^\[\]]+)\]|([^\[\]:]+)):(\d{1,5})')
_SAY_SECONDS = 5.0  # between two messages while waiting
_TRY_SECONDS = 2.0  # that one attempt to connect may take
_PAUSE_SECONDS = 0.5  # between two attempts

Say = Callable[[str], object]


def parse_address(address: str) -> tuple[str, int]:
  """Returns host and port of an address.

  Args:
    address: `HOST:PORT`; an IPv6 address is in brackets.

  Raises:
    ValueError: If it has another form, or the host has no address.
  """
  match = _ADDRESS.fullmatch(address)
  if match is None or not 0 < int(match[3]) < 2**16:
    raise ValueError(
      f'coordinator must be HOST:PORT with a port from 1 to 65535, got '
      f'{address!r}.'
    )
  host, port = match[1] or match[2], int(match[3])
  try:
    socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
  except (OSError, UnicodeError) as error:
    raise ValueError(
      f'coordinator={address}: the host {host!r} is unknown ({error}).'
    ) from None
  return host, port


def wait_for(address: str, seconds: float, say: Say) -> None:
  """Waits until the coordinator accepts connections.

  Args:
    address: Its address; see `parse_address`.
    seconds: Longest time to wait.
    say: Called with a message every few seconds.

  Raises:
    ValueError: If it does not; names the address.
  """
  host, port = parse_address(address)
  end = time.monotonic() + seconds
  with saying(f'the coordinator {address}', seconds, say):
    while not _answers(host, port):
      if time.monotonic() > end:
        raise ValueError(
          f'The coordinator {address} did not answer within {seconds:g} s. '
          'Start process 0 there, or correct --coordinator; '
          '--connect_seconds waits longer.'
        )
      time.sleep(_PAUSE_SECONDS)


@contextlib.contextmanager
def saying(whom: str, seconds: float, say: Say) -> Iterator[None]:
  """Says every few seconds that this process waits.

  Args:
    whom: What it waits for.
    seconds: Longest time that it waits.
    say: Called with the message.
  """
  done, began = threading.Event(), time.monotonic()

  def report() -> None:
    while not done.wait(_SAY_SECONDS):
      waited = time.monotonic() - began
      say(f'Waiting for {whom}: {waited:.0f} of at most {seconds:g} s.')

  thread = threading.Thread(target=report, daemon=True)
  thread.start()
  try:
    yield
  finally:
    done.set()
    thread.join()


def _answers(host: str, port: int) -> bool:
  """Returns whether something listens at an address."""
  try:
    with socket.create_connection((host, port), timeout=_TRY_SECONDS):
      return True
  except OSError:
    return False
