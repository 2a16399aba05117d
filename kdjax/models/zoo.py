"""Networks by name."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from kdjax import names
from kdjax.models.convnet import ConvNet
from kdjax.models.linen import linen_network
from kdjax.models.mobilenet_v1 import MobileNetV1
from kdjax.models.mobilenet_v2 import IMAGENET_SETTINGS, MobileNetV2
from kdjax.models.resnet import BasicBlock, Bottleneck, ImageNetResNet, ResNet
from kdjax.models.shufflenet import ShuffleNetV1, ShuffleNetV2
from kdjax.models.stack import POOLINGS
from kdjax.models.vgg import Vgg
from kdjax.models.vit import VisionTransformer
from kdjax.models.wrn import WideResNet
from kdjax.network import Network

_X4 = {'widths': (64, 128, 256), 'stem_width': 32}
_BOTTLENECKS = {'block': Bottleneck, 'widths': (256, 512, 1024, 2048)}
_O = {'boundary': 'pre_relu'}  # FCFD's "o" networks, cut before the ReLU
_PADDED = {'block': functools.partial(BasicBlock, padded=True)}
_NARROW = {'stem_width': 64, 'relu_between': False, 'pool': 4}

# Constructors, called as `NETWORKS[name](num_classes=…, dtype=…)`, which return
# a Linen module or a `Network`. Users may add theirs: docs/own-networks.md.
NETWORKS: dict[str, Callable[..., nn.Module | Network]] = {
  name: functools.partial(constructor, **settings)
  for name, (constructor, settings) in {
    'convnet_4_8': (ConvNet, {'widths': ((4,), (8,), (8,))}),
    'convnet_8_16': (ConvNet, {'widths': ((8,), (16,), (16,))}),
    'convnet_32_64': (ConvNet, {'widths': ((32, 32), (64,), (64,))}),
    'convnet_32_64_16': (ConvNet, {'widths': ((32, 32), (64,), (16,))}),
    # CIFAR networks of RepDistiller and mdistiller.
    'resnet8': (ResNet, {'blocks': (1, 1, 1)}),
    'resnet8o': (ResNet, {'blocks': (1, 1, 1), **_O}),
    'resnet14': (ResNet, {'blocks': (2, 2, 2)}),
    'resnet20': (ResNet, {'blocks': (3, 3, 3)}),
    'resnet32': (ResNet, {'blocks': (5, 5, 5)}),
    'resnet44': (ResNet, {'blocks': (7, 7, 7)}),
    'resnet56': (ResNet, {'blocks': (9, 9, 9)}),
    'resnet110': (ResNet, {'blocks': (18, 18, 18)}),
    'resnet8x4': (ResNet, {'blocks': (1, 1, 1), **_X4}),
    'resnet32x4': (ResNet, {'blocks': (5, 5, 5), **_X4}),
    'resnet32x4o': (ResNet, {'blocks': (5, 5, 5), **_X4, **_O}),
    'ResNet50': (
      ResNet,
      {'blocks': (3, 4, 6, 3), 'stem_width': 64, **_BOTTLENECKS},
    ),
    'ResNet50o': (
      ResNet,
      {'blocks': (3, 4, 6, 3), 'stem_width': 64, **_BOTTLENECKS, **_O},
    ),
    'wrn_16_1': (WideResNet, {'depth': 16, 'widen': 1}),
    'wrn_16_2': (WideResNet, {'depth': 16, 'widen': 2}),
    'wrn_40_1': (WideResNet, {'depth': 40, 'widen': 1}),
    'wrn_40_2': (WideResNet, {'depth': 40, 'widen': 2}),
    'vgg8': (Vgg, {'convs': (1, 1, 1, 1, 1)}),
    'vgg11': (Vgg, {'convs': (1, 1, 2, 2, 2)}),
    'vgg13': (Vgg, {'convs': (2, 2, 2, 2, 2)}),
    'vgg16': (Vgg, {'convs': (2, 2, 3, 3, 3)}),
    'vgg19': (Vgg, {'convs': (2, 2, 4, 4, 4)}),
    'MobileNetV2': (MobileNetV2, {}),
    'ShuffleV1': (ShuffleNetV1, {}),
    'ShuffleV2': (ShuffleNetV2, {}),
    # CIFAR-10 teachers whose shortcuts have no weights.
    'cifar10_resnet20': (ResNet, {'blocks': (3, 3, 3), **_PADDED}),
    'cifar10_resnet32': (ResNet, {'blocks': (5, 5, 5), **_PADDED}),
    'cifar10_resnet56': (ResNet, {'blocks': (9, 9, 9), **_PADDED}),
    # CIFAR-100 teachers with a wide stem and without ReLU between blocks.
    'cifar100_resnet8': (ResNet, {'blocks': (1, 1, 1), **_NARROW}),
    'cifar100_resnet20': (ResNet, {'blocks': (3, 3, 3), **_NARROW}),
    'cifar100_resnet32': (ResNet, {'blocks': (5, 5, 5), **_NARROW}),
    'imagenet_resnet18': (ImageNetResNet, {'blocks': (2, 2, 2, 2)}),
    'imagenet_resnet34': (ImageNetResNet, {'blocks': (3, 4, 6, 3)}),
    'imagenet_resnet50': (
      ImageNetResNet,
      {'blocks': (3, 4, 6, 3), **_BOTTLENECKS},
    ),
    'imagenet_resnet101': (
      ImageNetResNet,
      {'blocks': (3, 4, 23, 3), **_BOTTLENECKS},
    ),
    'imagenet_mobilenet_v1': (MobileNetV1, {}),
    'imagenet_mobilenet_v2': (
      MobileNetV2,
      {
        'settings': IMAGENET_SETTINGS,
        'stem_width': 32,
        'expand_always': False,
        'activation': nn.relu6,
      },
    ),
    'vit_tiny_patch16': (VisionTransformer, {'width': 192, 'heads': 3}),
    'vit_small_patch16': (VisionTransformer, {'width': 384, 'heads': 6}),
    'vit_base_patch16': (VisionTransformer, {'width': 768, 'heads': 12}),
  }.items()
}


def check_name(name: str) -> None:
  """Checks that there is a network of a name.

  Args:
    name: Should be a key of `NETWORKS`.

  Raises:
    ValueError: If it is not; suggests similar names.
  """
  if name not in NETWORKS:
    raise ValueError(names.unknown('network', name, NETWORKS))


def is_mobile(name: str) -> bool:
  """Returns whether a network is a small one with depthwise convolutions.

  The papers' recipes train these with a fifth of the usual learning rate.

  Args:
    name: A key of `NETWORKS`.
  """
  return any(family in name.lower() for family in ('mobilenet', 'shuffle'))


def create(
  name: str,
  *,
  num_classes: int,
  dtype: DTypeLike = jnp.float32,
  mean: tuple[float, ...] = (0.0,),
  std: tuple[float, ...] = (1.0,),
  pooling: str | None = None,
) -> Network:
  """Creates a network by name.

  Args:
    name: A key of `NETWORKS`.
    num_classes: Number of classes.
    dtype: Dtype of the computation; parameters and statistics are float32.
    mean: Per-channel mean of the training images in [0, 1].
    std: Per-channel standard deviation of the training images in [0, 1].
    pooling: Pooling of the last feature maps, `gap`, `gmp` or `gwp`; see
      `Stack` (`None`: the network's own).

  Returns:
    The network, a teacher or a student.

  Raises:
    ValueError: If there is no such network, with similar names, or no such
      pooling of it; or if a network of one's own takes other arguments or is of
      another class.

  Examples:
    >>> import jax
    >>> from kdjax import models
    >>> network = models.create('convnet_4_8', num_classes=10)
    >>> variables = network.initialize(jax.random.key(0), (8, 8, 1))
    >>> images = jax.random.uniform(jax.random.key(1), (2, 8, 8, 1))
    >>> features, _ = network.apply(variables, images, train=False)
    >>> features.logits.shape
    (2, 10)
    >>> [stage.shape for stage in features.stages]
    [(2, 8, 8, 4), (2, 4, 4, 8), (2, 2, 2, 8)]
  """
  check_name(name)
  options = {}
  if pooling is not None:
    if pooling not in POOLINGS:
      raise ValueError(names.unknown('pooling', pooling, POOLINGS))
    if name.startswith('vit'):
      raise ValueError(
        f'{name} classifies a class token and has no pooling: leave it out.'
      )
    options = {'pooling': pooling}
  options = {'num_classes': num_classes, 'dtype': dtype, **options}
  _check_arguments(name, options)
  network = NETWORKS[name](**options)
  if isinstance(network, Network):
    return dataclasses.replace(network, name=name, mean=mean, std=std)
  if not isinstance(network, nn.Module):
    raise ValueError(
      f"NETWORKS['{name}'] makes a {type(network).__name__}; it must make a "
      'Linen module or a kdjax.models.Network.'
    )
  return linen_network(network, name=name, mean=mean, std=std)


def _check_arguments(name: str, options: Mapping[str, Any]) -> None:
  """Raises a `ValueError` if a network cannot be made from these arguments."""
  try:
    inspect.signature(NETWORKS[name]).bind(**options)
  except TypeError as error:
    raise ValueError(
      f"NETWORKS['{name}'] is called with {', '.join(options)}, and does not "
      f'take them ({error}); see docs/own-networks.md.'
    ) from None
