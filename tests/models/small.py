"""One small network of every family, for tests of common properties."""

import functools

import jax

from kdjax import models
from kdjax.models import mobilenet_v2, resnet, shufflenet, vgg, vit
from kdjax.models.convnet import ConvNet
from kdjax.models.mobilenet_v1 import MobileNetV1
from kdjax.models.wrn import WideResNet

_ResNet = functools.partial(
  resnet.ResNet, blocks=(1, 2), widths=(8, 16), stem_width=8
)
_INVERTED = tuple(
  (expansion, width, 2 if width == 12 else 1, strides)
  for expansion, width, repeats, strides in mobilenet_v2.CIFAR_SETTINGS
)
_MODULES = {
  'convnet': functools.partial(ConvNet, widths=((4,), (8, 8), (8,))),
  'resnet': _ResNet,
  'resnet, pre_relu': functools.partial(_ResNet, boundary='pre_relu'),
  'resnet, bottlenecks': functools.partial(_ResNet, block=resnet.Bottleneck),
  'resnet, padded': functools.partial(
    _ResNet, block=functools.partial(resnet.BasicBlock, padded=True)
  ),
  'resnet, narrow': functools.partial(
    _ResNet, stem_width=32, relu_between=False, pool=4
  ),
  'resnet, imagenet': functools.partial(
    resnet.ImageNetResNet, blocks=(1, 1), widths=(8, 16)
  ),
  'wrn': functools.partial(WideResNet, depth=16, widen=1),
  'vgg': functools.partial(vgg.Vgg, convs=(1, 2, 1, 1, 1)),
  'mobilenet_v1': functools.partial(
    MobileNetV1, widths=((8, 8, 8), (16,), (16, 16))
  ),
  'mobilenet_v2': functools.partial(
    mobilenet_v2.MobileNetV2, settings=_INVERTED, last_width=64
  ),
  'shufflenet_v1': functools.partial(
    shufflenet.ShuffleNetV1, blocks=(2, 2), widths=(60, 120)
  ),
  'shufflenet_v2': functools.partial(
    shufflenet.ShuffleNetV2, blocks=(1, 1, 2), widths=(12, 24, 48)
  ),
  'vit': functools.partial(
    vit.VisionTransformer, width=24, heads=3, depth=4, patch=8
  ),
}
NAMES = tuple(_MODULES)
SIZE = 32


def create(name: str, num_classes: int = 7, **settings) -> models.Network:
  """Returns a network, of seven classes by default."""
  module = _MODULES[name](num_classes=num_classes, **settings)
  return models.linen_network(module, name=name)


@functools.cache
def variables(name: str):
  """Returns initial variables for images of 32 by 32 pixels."""
  return create(name).initialize(jax.random.key(0), (SIZE, SIZE, 3))


def images(batch: int = 2):
  """Returns normal noise."""
  return jax.random.normal(jax.random.key(1), (batch, SIZE, SIZE, 3))


def apply(network: models.Network, *args, train: bool = False):
  """Calls `network.apply`, compiled."""
  return jax.jit(functools.partial(network.apply, train=train))(*args)
