"""The loop that PyTorch users write, for comparison: eager, no compilation."""

import torch
from torch import nn
from torch.nn import functional


class Block(nn.Module):
  """A basic residual block of the CIFAR ResNets."""

  def __init__(self, inputs: int, width: int, stride: int):
    super().__init__()
    self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
    self.bn1 = nn.BatchNorm2d(width)
    self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
    self.bn2 = nn.BatchNorm2d(width)
    self.shortcut = nn.Identity()
    if stride != 1 or inputs != width:
      self.shortcut = nn.Sequential(
        nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width)
      )

  def forward(self, x):
    hidden = functional.relu(self.bn1(self.conv1(x)))
    return functional.relu(self.bn2(self.conv2(hidden)) + self.shortcut(x))


class ResNet(nn.Module):
  """CIFAR ResNet; gives logits and the pooled embedding."""

  def __init__(self, blocks: int, stem: int, widths: tuple[int, ...]):
    super().__init__()
    self.stem = nn.Sequential(
      nn.Conv2d(3, stem, 3, 1, 1, bias=False), nn.BatchNorm2d(stem), nn.ReLU()
    )
    layers, inputs = [], stem
    for place, width in enumerate(widths):
      for number in range(blocks):
        stride = 2 if place and not number else 1
        layers.append(Block(inputs, width, stride))
        inputs = width
    self.layers = nn.Sequential(*layers)
    self.head = nn.Linear(inputs, 100)

  def forward(self, x):
    embedding = self.layers(self.stem(x)).mean(dim=(2, 3))
    return self.head(embedding), embedding


NETWORKS = {
  'resnet8': (1, 16, (16, 32, 64)),
  'resnet20': (3, 16, (16, 32, 64)),
  'resnet56': (9, 16, (16, 32, 64)),
  'resnet8x4': (1, 32, (64, 128, 256)),
  'resnet32x4': (5, 32, (64, 128, 256)),
}


class Loop:
  """A KD step after another on random batches that are already there."""

  def __init__(self, teacher: str, student: str, batch_size: int):
    self.device = 'cuda' if torch.cuda.is_available() else 'cpu'
    torch.manual_seed(0)
    self.teacher = ResNet(*NETWORKS[teacher]).to(self.device).eval()
    self.student = ResNet(*NETWORKS[student]).to(self.device).train()
    self.optimizer = torch.optim.SGD(
      self.student.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4
    )
    self.images = torch.randn(batch_size, 3, 32, 32, device=self.device)
    self.labels = torch.randint(0, 100, (batch_size,), device=self.device)

  def run(self, steps: int) -> None:
    """Does the steps and waits until they are done."""
    for _ in range(steps):
      with torch.no_grad():
        wanted, _ = self.teacher(self.images)
      logits, _ = self.student(self.images)
      soft = functional.kl_div(
        functional.log_softmax(logits / 4, dim=1),
        functional.softmax(wanted / 4, dim=1),
        reduction='batchmean',
      )
      task = functional.cross_entropy(logits, self.labels)
      loss = 0.1 * task + 0.9 * 16 * soft
      self.optimizer.zero_grad()
      loss.backward()
      self.optimizer.step()
    if self.device == 'cuda':
      torch.cuda.synchronize()
