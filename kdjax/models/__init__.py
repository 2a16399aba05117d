"""Networks of stages; `create(name, num_classes=…)` returns one by name."""

from kdjax.models.convnet import ConvNet
from kdjax.models.linen import linen_network
from kdjax.models.resnet import ResNet
from kdjax.models.stack import Stack
from kdjax.models.wrn import WideResNet
from kdjax.models.zoo import NETWORKS, check_name, create, is_mobile
from kdjax.network import Network

__all__ = [
  'NETWORKS',
  'ConvNet',
  'Network',
  'ResNet',
  'Stack',
  'WideResNet',
  'check_name',
  'create',
  'is_mobile',
  'linen_network',
]
