"""Exact transport as in KD²M's code: POT for the plan, PyTorch for the rest.

  python -m benchmarks.torch_transport 128 512

prints the peak growth in bytes of a new process for one value and gradient of
batches `[128, 512]`: the arrays of POT's C++ solver cannot be counted directly.
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
  """Computes the squared distance and its gradient with a constant plan."""
  x = torch.from_numpy(student).requires_grad_()
  y = torch.from_numpy(teacher)
  squares = x.square().sum(dim=1)[:, None] + y.square().sum(dim=1)
  cost = (squares - 2 * x @ y.T).clamp(min=0)
  # POT's default of 100,000 iterations is too low for two batches of 2048.
  plan = ot.emd([], [], cost.detach().numpy(), numItermax=10**7)
  value = (torch.from_numpy(plan).to(cost.dtype) * cost).sum()
  value.backward()
  assert x.grad is not None
  return value.item(), x.grad.numpy()


def peak_bytes(batch: int, width: int) -> int:
  """Returns the peak growth of a new process; see the module."""
  command = [sys.executable, '-m', 'benchmarks.torch_transport']
  process = subprocess.run(
    [*command, str(batch), str(width)],
    check=True,
    capture_output=True,
    text=True,
  )
  return int(process.stdout)


def _status_bytes(name: str) -> int:
  for line in _STATUS.read_text().splitlines():
    if line.startswith(name + ':'):
      return int(line.split()[1]) * 1024
  raise ValueError(f'{_STATUS} has no line {name}.')


def main() -> None:
  """Prints the peak growth; see the module."""
  batch, width = map(int, sys.argv[1:])
  rng = np.random.default_rng(0)
  clouds = rng.normal(size=(2, batch, width)).astype(np.float32)
  exact(*clouds[:, :16])  # loads libraries and allocates their pools
  before = _status_bytes('VmRSS')
  _CLEAR.write_text('5')  # resets VmHWM
  exact(*clouds)
  print(_status_bytes('VmHWM') - before)


if __name__ == '__main__':
  main()
