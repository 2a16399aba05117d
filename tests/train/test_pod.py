"""Four processes with one device each match one process."""

import socket
import subprocess
import sys

import numpy as np
import pytest

from tests.experiments import commands
from tests.train import pod, support

pytestmark = pytest.mark.optimized


@pytest.mark.slow
@pytest.mark.long
def test_four_processes_match_one(tmp_path):
  with socket.socket() as free:
    free.bind(('localhost', 0))
    address = f'localhost:{free.getsockname()[1]}'
  command = [sys.executable, '-m', 'tests.train.pod', address, '4']
  processes = [
    subprocess.Popen(
      [*command, str(number), str(tmp_path)],
      cwd=commands.REPOSITORY,
      env=commands.environment(tmp_path),
      stderr=subprocess.PIPE,
      text=True,
    )
    for number in range(4)
  ]
  said = [process.communicate(timeout=600)[1] for process in processes]
  assert [process.returncode for process in processes] == [0] * 4, said
  found = [dict(np.load(tmp_path / f'{number}.npz')) for number in range(4)]
  for other in found[1:]:
    support.identical(other, found[0])
  support.close(found[0], pod.alone(), 1e-5)
