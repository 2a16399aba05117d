"""The networks of FCFD's golden files, identified by names and shapes."""

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.convert.torch import layout as torch_layout
from kdjax.convert.torch import names
from kdjax.models import Network, linen_network
from kdjax.models.mobilenet_v2 import CIFAR_SETTINGS, MobileNetV2
from kdjax.models.resnet import Bottleneck, ResNet
from kdjax.models.shufflenet import ShuffleNetV1, ShuffleNetV2
from kdjax.models.vgg import Vgg
from kdjax.models.wrn import WideResNet

PyTree = Any
State = Mapping[str, np.ndarray]


def read(
  stored: Mapping[str, np.ndarray], side: int, images: tuple[int, ...]
) -> tuple[Network, PyTree, 'Names']:
  """Reads one network, its float64 variables and its names.

  Args:
    stored: The arrays of the file.
    side: 0 for the teacher, 1 for the student.
    images: Shape of one image, `[H, W, C]`.
  """
  prefix = f'state/models.{side}.'
  state = {
    key.removeprefix(prefix): value
    for key, value in stored.items()
    if key.startswith(prefix) and not key.endswith('num_batches_tracked')
  }
  key = f'feat/stage1/space{side}/{side}{side}/first1'
  signed = key in stored and bool(np.min(stored[key]) < 0)
  module, rules = _module(state, signed)
  network = linen_network(module, name=f'models.{side}')
  template = network.describe(images).variables
  variables = torch_layout.from_torch(state, template, rules)
  variables = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), variables)
  return network, variables, Names(f'models.{side}', rules)


class Names:
  """Conversion of a network's leaves to the file's names and layout."""

  def __init__(self, prefix: str, rules: names.Rules):
    self.prefix = prefix
    self.rules = rules

  def of(self, variables: PyTree) -> dict[str, np.ndarray]:
    """Returns arrays by the file's names."""
    arrays = torch_layout.to_torch(variables, self.rules)
    return {f'{self.prefix}.{name}': value for name, value in arrays.items()}


def _module(state: State, signed: bool):
  """Returns the Linen module with the stored sizes, and its naming rules."""
  if 'block1.layer.0.conv1.weight' in state:
    return _wide(state, 'block1.layer.'), names.WRN
  if 'block1.0.conv1.weight' in state:
    rules = tuple(
      (ours, name.replace('.layer', '')) for ours, name in names.WRN
    )
    return _wide(state, 'block1.'), rules
  if 'block0.0.weight' in state:
    return _vgg(state), names.VGG
  if 'blocks.0.0.conv.0.weight' in state:
    rules = tuple(
      (ours, 'classifier' if ours == 'head' else name)
      for ours, name in names.MOBILENET_V2
    )
    return _mobile(state), rules
  if 'conv2.weight' in state:
    return _shuffle_v2(state), names.SHUFFLE
  if state['layer1.0.conv2.weight'].shape[1:] == (1, 3, 3):
    return _shuffle_v1(state), names.SHUFFLE
  return _residual(state, signed)


def _number_of(state: State, pattern: str) -> int:
  """Counts the distinct matches of the pattern's group."""
  results = {m[1] for key in state if (m := re.match(pattern, key))}
  return len(results)


def _classes(state: State) -> int:
  (key,) = (key for key, value in state.items() if value.ndim == 2)
  return len(state[key])


def _residual(state: State, signed: bool):
  stages = range(1, _number_of(state, r'layer(\d+)\.') + 1)
  last = 'conv3' if 'layer1.0.conv3.weight' in state else 'conv2'
  shortcut = 'shortcut' if any('.shortcut.' in key for key in state) else None
  head = 'fc' if 'fc.weight' in state else 'linear'
  module = ResNet(
    num_classes=_classes(state),
    dtype=jnp.float64,
    boundary='pre_relu' if signed else 'post_relu',
    blocks=tuple(_number_of(state, rf'layer{s}\.(\d+)\.') for s in stages),
    widths=tuple(len(state[f'layer{s}.0.{last}.weight']) for s in stages),
    stem_width=len(state['conv1.weight']),
    **({'block': Bottleneck} if last == 'conv3' else {}),
  )
  return module, names._resnet(shortcut or 'downsample', head)


def _wide(state: State, group: str) -> WideResNet:
  blocks = _number_of(state, rf'{re.escape(group)}(\d+)\.')
  return WideResNet(
    num_classes=_classes(state),
    dtype=jnp.float64,
    depth=6 * blocks + 4,
    widen=len(state[f'{group}0.conv1.weight']) // 16,
  )


def _vgg(state: State) -> Vgg:
  convs = [
    [v for k, v in state.items() if k.startswith(f'block{s}.') and v.ndim == 4]
    for s in range(5)
  ]
  return Vgg(
    num_classes=_classes(state),
    dtype=jnp.float64,
    convs=tuple(len(stage) for stage in convs),
    widths=tuple(len(stage[0]) for stage in convs),
  )


def _mobile(state: State) -> MobileNetV2:
  settings = []
  for group, (_, _, _, strides) in enumerate(CIFAR_SETTINGS):
    wide, narrow = state[f'blocks.{group}.0.conv.0.weight'].shape[:2]
    width = len(state[f'blocks.{group}.0.conv.6.weight'])
    repeats = _number_of(state, rf'blocks\.{group}\.(\d+)\.')
    settings.append((wide // narrow, width, repeats, strides))
  return MobileNetV2(
    num_classes=_classes(state),
    dtype=jnp.float64,
    settings=tuple(settings),
    stem_width=len(state['conv1.0.weight']),
    last_width=len(state['conv2.0.weight']),
  )


def _shuffle_v1(state: State) -> ShuffleNetV1:
  # A stage's first block concatenates its input and its output.
  widths, width = [], len(state['conv1.weight'])
  for stage in (1, 2, 3):
    width += len(state[f'layer{stage}.0.bn3.weight'])
    widths.append(width)
  inside = len(state['layer1.0.bn2.weight'])
  return ShuffleNetV1(
    num_classes=_classes(state),
    dtype=jnp.float64,
    blocks=tuple(_number_of(state, rf'layer{s}\.(\d+)\.') for s in (1, 2, 3)),
    widths=tuple(widths),
    groups=inside // state['layer1.0.conv3.weight'].shape[1],
  )


def _shuffle_v2(state: State) -> ShuffleNetV2:
  return ShuffleNetV2(
    num_classes=_classes(state),
    dtype=jnp.float64,
    blocks=tuple(_number_of(state, rf'layer{s}\.(\d+)\.') for s in (1, 2, 3)),
    widths=tuple(2 * len(state[f'layer{s}.0.bn3.weight']) for s in (1, 2, 3)),
    last_width=len(state['conv2.weight']),
  )
