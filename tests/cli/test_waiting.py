"""Commands of several processes whose others are not there."""

import socket
import time

import pytest

from tests.experiments import commands

pytestmark = pytest.mark.slow


@pytest.mark.parametrize('number', [0, 1])
def test_processes_that_are_not_there_are_named(tmp_path, number):
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    address = f'127.0.0.1:{free.getsockname()[1]}'
  began = time.monotonic()
  process = commands.start(
    'digits',
    f'--coordinator={address}',
    '--num_processes=2',
    f'--process_id={number}',
    '--connect_seconds=7',
    cache=tmp_path,
    cwd=tmp_path,
  )
  _, said = process.communicate(timeout=60)
  assert time.monotonic() - began < 50
  assert process.returncode in (1, 2), said
  assert 'Traceback' not in said
  lines = said.strip().splitlines()
  assert any(line.startswith('Waiting for ') for line in lines)
  assert lines[-1].startswith('error: ')
  assert address in lines[-1]
  assert '7 s' in lines[-1]
  assert not list(tmp_path.glob('runs/*'))
