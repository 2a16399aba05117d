"""kornia's formula of SSIM in PyTorch; kornia itself is not a dependency.

`python -m benchmarks.torch_ssim` compares it with kornia if that is installed.
"""

import numpy as np
import torch
import torch.nn.functional as F


def loss(x: torch.Tensor, y: torch.Tensor, window: int = 11) -> torch.Tensor:
  """Computes the mean of (1 - SSIM) / 2 of maps `[B, C, H, W]` in [0, 1]."""
  offsets = torch.arange(window, dtype=x.dtype) - window // 2
  weights = torch.exp(-(offsets**2) / (2 * 1.5**2))
  weights = weights / weights.sum()
  mean_x, mean_y = _blur(x, weights), _blur(y, weights)
  square_x, square_y, product = mean_x**2, mean_y**2, mean_x * mean_y
  variance_x = _blur(x**2, weights) - square_x
  variance_y = _blur(y**2, weights) - square_y
  covariance = _blur(x * y, weights) - product
  c1, c2 = 0.01**2, 0.03**2
  numerator = (2 * product + c1) * (2 * covariance + c2)
  denominator = (square_x + square_y + c1) * (variance_x + variance_y + c2)
  ssim = numerator / (denominator + 1e-12)
  return torch.clamp((1 - ssim) / 2, 0, 1).mean()


def to_tensor(array: np.ndarray) -> torch.Tensor:
  """Returns maps `[B, H, W, C]` as a tensor `[B, C, H, W]`."""
  return torch.from_numpy(array).permute(0, 3, 1, 2).contiguous()


def value_and_gradient(
  x: torch.Tensor, y: torch.Tensor
) -> tuple[float, torch.Tensor]:
  """Computes the loss and its gradient with respect to the first map."""
  x = x.detach().requires_grad_()
  value = loss(x, y)
  value.backward()
  assert x.grad is not None
  return value.item(), x.grad


def _blur(x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
  """Averages over windows with reflection padding, width first."""
  channels, half = x.shape[1], len(weights) // 2
  row = weights.view(1, 1, 1, -1).expand(channels, 1, 1, -1)
  x = F.pad(x, [half, half, 0, 0], mode='reflect')
  x = F.conv2d(x, row, groups=channels)
  x = F.pad(x, [0, 0, half, half], mode='reflect')
  return F.conv2d(x, row.transpose(2, 3), groups=channels)


def main() -> None:
  """Compares with kornia."""
  from kornia.losses import ssim_loss

  rng = np.random.default_rng(0)
  x, y = (to_tensor(rng.uniform(size=(2, 20, 24, 5))) for _ in range(2))
  ours, theirs = loss(x, y).item(), ssim_loss(x, y, 11).item()
  if not abs(ours - theirs) <= 1e-12:
    raise ValueError(f'The loss is {ours}, that of kornia {theirs}.')
  print(f'Both losses are {ours}.')


if __name__ == '__main__':
  main()
