"""Exact transport as KD²M's recipe has it: POT for the plan, PyTorch around it.

  python -m benchmarks.torch_transport 128 512

prints by how many bytes a fresh process grows at its peak for one value and
gradient of batches `[128, 512]`: POT's solver is C++, so its arrays cannot be
counted from here.
"""

import pathlib
import subprocess
import sys

import numpy as np
import ot
import torch

_STATUS = pathlib.Path('/proc/self/status')
_CLEAR = pathlib.Path('/proc/self/clear_refs')


def exact(student: np.ndarray, teacher: np.ndarray) -> tuple[float, np.ndarray]:
  """Squared distance and its gradient, the plan held fixed."""
  x = torch.from_numpy(student).requires_grad_()
  y = torch.from_numpy(teacher)
  squares = x.square().sum(dim=1)[:, None] + y.square().sum(dim=1)
  cost = (squares - 2 * x @ y.T).clamp(min=0)
  # The default limit, 100,000, is too low for two batches of 2048.
  plan = ot.emd([], [], cost.detach().numpy(), numItermax=10**7)
  value = (torch.from_numpy(plan).to(cost.dtype) * cost).sum()
  value.backward()
  assert x.grad is not None
  return value.item(), x.grad.numpy()


def peak_bytes(batch: int, width: int) -> int:
  """What `main` prints, from a process of its own."""
  command = [sys.executable, '-m', 'benchmarks.torch_transport']
  printed = subprocess.run(
    [*command, str(batch), str(width)],
    check=True,
    capture_output=True,
    text=True,
  )
  return int(printed.stdout)


def _status_bytes(name: str) -> int:
  for line in _STATUS.read_text().splitlines():
    if line.startswith(name + ':'):
      return int(line.split()[1]) * 1024
  raise ValueError(f'{_STATUS} does not tell {name}.')


def main() -> None:
  batch, width = map(int, sys.argv[1:])
  rng = np.random.default_rng(0)
  clouds = rng.normal(size=(2, batch, width)).astype(np.float32)
  exact(*clouds[:, :16])  # libraries and their pools
  before = _status_bytes('VmRSS')
  _CLEAR.write_text('5')  # the peak begins anew
  exact(*clouds)
  print(_status_bytes('VmHWM') - before)


if __name__ == '__main__':
  main()
