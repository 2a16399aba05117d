"""Networks in eager PyTorch, after their papers; each returns logits."""

import functools

import torch
from torch import nn
from torch.nn import functional


def _conv_norm(inputs, outputs, size=3, stride=1, groups=1, relu=True):
  layers = [
    nn.Conv2d(
      inputs, outputs, size, stride, size // 2, groups=groups, bias=False
    ),
    nn.BatchNorm2d(outputs),
  ]
  return nn.Sequential(*layers, *([nn.ReLU()] if relu else []))


class Block(nn.Module):
  """Basic residual block of the CIFAR ResNets."""

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
  """CIFAR ResNet with convolutions in shortcuts that change the shape."""

  def __init__(self, blocks: int, stem: int, widths: tuple[int, ...]):
    super().__init__()
    self.stem = nn.Sequential(
      nn.Conv2d(3, stem, 3, 1, 1, bias=False), nn.BatchNorm2d(stem), nn.ReLU()
    )
    layers, inputs = [], stem
    for index, width in enumerate(widths):
      for number in range(blocks):
        stride = 2 if index and not number else 1
        layers.append(Block(inputs, width, stride))
        inputs = width
    self.layers = nn.Sequential(*layers)
    self.head = nn.Linear(inputs, 100)

  def forward(self, x):
    return self.head(self.layers(self.stem(x)).mean(dim=(2, 3)))


class WideBlock(nn.Module):
  """Pre-activation block: batch norm precedes each convolution."""

  def __init__(self, inputs: int, width: int, stride: int):
    super().__init__()
    self.bn1, self.bn2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(width)
    self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
    self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
    self.shortcut = None
    if inputs != width:
      self.shortcut = nn.Conv2d(inputs, width, 1, stride, bias=False)

  def forward(self, x):
    active = functional.relu(self.bn1(x))
    hidden = self.conv2(functional.relu(self.bn2(self.conv1(active))))
    return hidden + (x if self.shortcut is None else self.shortcut(active))


class WideResNet(nn.Module):
  """Wide ResNet, `wrn_<depth>_<widen>`."""

  def __init__(self, depth: int, widen: int):
    super().__init__()
    layers, inputs = [nn.Conv2d(3, 16, 3, 1, 1, bias=False)], 16
    for index, width in enumerate((16 * widen, 32 * widen, 64 * widen)):
      for number in range((depth - 4) // 6):
        stride = 2 if index and not number else 1
        layers.append(WideBlock(inputs, width, stride))
        inputs = width
    self.layers = nn.Sequential(*layers, nn.BatchNorm2d(inputs), nn.ReLU())
    self.head = nn.Linear(inputs, 100)

  def forward(self, x):
    return self.head(self.layers(x).mean(dim=(2, 3)))


class Vgg(nn.Module):
  """VGG with batch norm, for 32×32 images."""

  def __init__(self, convolutions: tuple[int, ...]):
    super().__init__()
    layers, inputs = [], 3
    for index, count in enumerate(convolutions):
      width = (64, 128, 256, 512, 512)[index]
      for _ in range(count):
        layers += [
          nn.Conv2d(inputs, width, 3, 1, 1),
          nn.BatchNorm2d(width),
          nn.ReLU(),
        ]
        inputs = width
      if index < 3:
        layers.append(nn.MaxPool2d(2))
    self.layers = nn.Sequential(*layers)
    self.head = nn.Linear(512, 100)

  def forward(self, x):
    return self.head(self.layers(x).mean(dim=(2, 3)))


class ShuffleUnit(nn.Module):
  """ShuffleNetV2 unit; with stride 2 both branches take all channels."""

  def __init__(self, inputs: int, width: int, stride: int):
    super().__init__()
    half, self.left = width // 2, None
    branch = inputs // 2
    if stride == 2:
      branch = inputs
      self.left = nn.Sequential(
        _conv_norm(inputs, inputs, 3, 2, inputs, relu=False),
        _conv_norm(inputs, half, 1),
      )
    self.right = nn.Sequential(
      _conv_norm(branch, half, 1),
      _conv_norm(half, half, 3, stride, half, relu=False),
      _conv_norm(half, half, 1),
    )

  def forward(self, x):
    if self.left is None:
      left, right = x.chunk(2, dim=1)
    else:
      left, right = self.left(x), x
    joined = torch.cat([left, self.right(right)], dim=1)
    batch, channels, height, width = joined.shape
    pairs = joined.view(batch, 2, channels // 2, height, width)
    return pairs.transpose(1, 2).reshape(batch, channels, height, width)


class ShuffleNetV2(nn.Module):
  """ShuffleNetV2 1×, for 32×32 images."""

  def __init__(self):
    super().__init__()
    layers, inputs = [_conv_norm(3, 24, 1)], 24
    for width, count in ((116, 4), (232, 8), (464, 4)):
      for number in range(count):
        layers.append(ShuffleUnit(inputs, width, 1 if number else 2))
        inputs = width
    self.layers = nn.Sequential(*layers, _conv_norm(464, 1024, 1))
    self.head = nn.Linear(1024, 100)

  def forward(self, x):
    return self.head(self.layers(x).mean(dim=(2, 3)))


_NARROW, _WIDE = (16, (16, 32, 64)), (32, (64, 128, 256))

NETWORKS = {
  'resnet8': functools.partial(ResNet, 1, *_NARROW),
  'resnet20': functools.partial(ResNet, 3, *_NARROW),
  'resnet32': functools.partial(ResNet, 5, *_NARROW),
  'resnet56': functools.partial(ResNet, 9, *_NARROW),
  'resnet110': functools.partial(ResNet, 18, *_NARROW),
  'resnet8x4': functools.partial(ResNet, 1, *_WIDE),
  'resnet32x4': functools.partial(ResNet, 5, *_WIDE),
  'wrn_16_2': functools.partial(WideResNet, 16, 2),
  'wrn_40_1': functools.partial(WideResNet, 40, 1),
  'wrn_40_2': functools.partial(WideResNet, 40, 2),
  'vgg8': functools.partial(Vgg, (1, 1, 1, 1, 1)),
  'vgg13': functools.partial(Vgg, (2, 2, 2, 2, 2)),
  'ShuffleV2': ShuffleNetV2,
}
