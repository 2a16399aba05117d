"""The address that processes meet at, and how long they wait for it."""

import socket
import time

import pytest

from kdjax.cli.processes import Processes
from kdjax.runtime import coordinator, processes


@pytest.fixture
def free_address():
  """An address of this machine where nothing listens."""
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    return f'127.0.0.1:{free.getsockname()[1]}'


@pytest.mark.parametrize(
  ('address', 'wanted'),
  [('127.0.0.1:80', ('127.0.0.1', 80)), ('[::1]:9', ('::1', 9))],
)
def test_an_address(address, wanted):
  assert coordinator.parse_address(address) == wanted


@pytest.mark.parametrize(
  'address',
  [
    '',
    'host',
    'host:',
    ':80',
    'host:0',
    'host:65536',
    'host:x',
    'a:b:1',
    '::1',
  ],
)
def test_an_address_without_host_or_port_is_named_at_once(address):
  with pytest.raises(ValueError, match='coordinator must be HOST:PORT'):
    coordinator.parse_address(address)


def test_a_host_that_is_unknown_is_named_at_once(monkeypatch):
  def unknown(*args, **options):
    raise socket.gaierror(-2, 'Name or service not known')

  monkeypatch.setattr(socket, 'getaddrinfo', unknown)
  with pytest.raises(ValueError, match="host 'nowhere' is unknown"):
    processes.start_processes('nowhere:1234', 2, 1)


def test_a_coordinator_that_is_not_there_is_waited_for(
  monkeypatch, free_address
):
  monkeypatch.setattr(coordinator, '_SAY_SECONDS', 0.05)
  monkeypatch.setattr(coordinator, '_PAUSE_SECONDS', 0.02)
  said, began = [], time.monotonic()
  with pytest.raises(ValueError, match='did not answer') as error:
    processes.start_processes(free_address, 2, 1, seconds=0.3, say=said.append)
  assert time.monotonic() - began < 10
  assert f'The coordinator {free_address} did not answer' in str(error.value)
  assert said
  assert all(free_address in message for message in said)


def test_a_coordinator_that_answers_is_not_waited_for():
  with socket.socket() as server:
    server.bind(('127.0.0.1', 0))
    server.listen()
    port = server.getsockname()[1]
    said = []
    coordinator.wait_for(f'127.0.0.1:{port}', 5, said.append)
  assert not said


@pytest.mark.parametrize(
  ('settings', 'why'),
  [
    ({'coordinator': 'h:1'}, 'needs --num_processes and --process_id'),
    ({'num_processes': 0, 'process_id': 0}, 'num_processes must be from 1'),
    ({'num_processes': 10**12, 'process_id': 0}, 'num_processes must be from'),
    ({'num_processes': 2, 'process_id': 2}, 'process_id must be from 0 to 1'),
    ({'num_processes': 2, 'process_id': -1}, 'process_id must be from 0 to 1'),
    ({'connect_seconds': 0}, 'connect_seconds must be at least 1'),
    ({'cpu_devices': 10**20}, 'cpu_devices must be at most 512'),
  ],
)
def test_processes_that_cannot_be_are_named_at_once(settings, why):
  if 'num_processes' in settings:
    settings = {'coordinator': '127.0.0.1:1', **settings}
  with pytest.raises(ValueError, match=why):
    Processes(**settings).start()
