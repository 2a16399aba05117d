"""Processes that decode images: they end with their parent, and as one line."""

import collections
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from kdjax.data.stream.reading import MAX_WORKERS, Reading
from kdjax.data.stream.workers import checked
from tests.data import streams

ROOT = pathlib.Path(__file__).resolve().parents[2]
_PARENT = """
import multiprocessing, time
from tests.data import streams

if __name__ == '__main__':
  stream = streams.split(workers=2).shuffled(0, 4)
  next(stream)
  print(*(child.pid for child in multiprocessing.active_children()), flush=True)
  time.sleep(600)
"""


def _is_running(pid: int) -> bool:
  try:
    state = pathlib.Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2]
  except OSError:
    return False
  return state.split()[0] != 'Z'


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir('/proc/self'), reason='needs /proc')
def test_workers_end_with_a_parent_that_is_killed(tmp_path):
  script = tmp_path / 'parent.py'
  script.write_text(_PARENT)
  with subprocess.Popen(
    [sys.executable, str(script)],
    stdout=subprocess.PIPE,
    text=True,
    env={**os.environ, 'PYTHONPATH': str(ROOT), 'JAX_PLATFORMS': 'cpu'},
  ) as parent:
    assert parent.stdout is not None
    workers = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(workers) == 2
    assert all(map(_is_running, workers))
    parent.send_signal(signal.SIGKILL)
  end = time.monotonic() + 10
  while any(map(_is_running, workers)):
    assert time.monotonic() < end, 'the workers are still there'
    time.sleep(0.1)


@pytest.mark.slow
def test_a_worker_that_is_killed_is_one_line():
  stream = streams.split(workers=1).shuffled(0, 4)
  next(stream)
  (worker,) = multiprocessing.active_children()
  os.kill(worker.pid, signal.SIGINT)  # a terminal's, which is for the parent
  next(stream)
  os.kill(worker.pid, signal.SIGKILL)
  with pytest.raises(ChildProcessError, match='was ended from outside'):
    collections.deque(stream, maxlen=0)
  stream.close()


def test_other_errors_of_grain_are_raised_as_they_are():
  def groups():
    yield 1
    raise RuntimeError('something else')

  found = checked(groups())
  assert next(found) == 1
  with pytest.raises(RuntimeError, match='something else'):
    next(found)


@pytest.mark.parametrize(
  'settings', [{'workers': MAX_WORKERS + 1}, {'threads': 10**9}]
)
def test_more_than_a_machine_can_serve_is_refused(settings):
  with pytest.raises(ValueError, match=f'at most {MAX_WORKERS}'):
    Reading(**settings)
