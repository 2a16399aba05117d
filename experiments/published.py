"""Settings that papers give for a pair of networks, as data.

Commands with a pair take them as defaults and print them; flags override each.
Where a paper gives none for a pair, the recipe of the command holds, with
learning rate 0.01 for small networks of depthwise convolutions.
"""

import dataclasses
from typing import Any

from kdjax.methods import Combination, Fcfd, Kd, Lshfm, Method


@dataclasses.dataclass(frozen=True, kw_only=True)
class Published:
  """Settings of a paper for one method on one pair of networks.

  Attributes:
    source: The paper and the dataset.
    method: Settings of the method.
    recipe: Settings of `kdjax.train.Recipe` that are not its defaults.
  """

  source: str
  method: dict[str, Any] = dataclasses.field(default_factory=dict)
  recipe: dict[str, Any] = dataclasses.field(default_factory=dict)


def _fcfd(rate: float, temperature: float, features=5.0, mixed=1.0):
  return Published(
    source='FCFD, CIFAR-100',
    method={
      'temperature': temperature,
      'feature_weight': features,
      'mixed_weight': mixed,
      'warmup_epochs': 20,
    },
    recipe={'learning_rate': rate, 'nesterov': True},
  )


def _fcfd_imagenet(features: float):
  return Published(
    source='FCFD, ImageNet',
    method={
      'temperature': 1.0,
      'feature_weight': features,
      'mixed_weight': 1.0,
      'warmup_epochs': 5,
    },
    recipe={
      'epochs': 100,
      'batch_size': 256,
      'learning_rate': 0.1,
      'nesterov': True,
      'weight_decay': 1e-4,
      'decay_at': (0.3, 0.6, 0.9),
    },
  )


def _kd_imagenet():
  # mdistiller uses twice the batch size and twice the learning rate.
  return Published(
    source='KD in mdistiller, ImageNet',
    method={'task_weight': 0.5, 'weight': 0.5, 'temperature': 1.0},
  )


def _lshfm(student: str):
  # Initialization of the linear layers of these families in the authors' code.
  normal = student in ('vgg8', 'MobileNetV2')
  return Published(
    source='LSHFM, CIFAR-100',
    method={
      'weight': 6.0,
      'loss': 'lshl2_s',
      'bias': 'median',
      'embedding_spread': 0.01 if normal else None,
    },
  )


def _lshfm_imagenet(spread: float | None, source: str = 'LSHFM, ImageNet'):
  return Published(
    source=source,
    method={
      'weight': 5.0,
      'loss': 'lshl2_s',
      'hashes': 2048,
      'spread': spread,
      'bias': 'zero',
    },
    recipe={
      'epochs': 100,
      'batch_size': 256,
      'learning_rate': 0.1,
      'weight_decay': 1e-4,
      'decay_at': (0.3, 0.6, 0.9),
    },
  )


# Settings by method, teacher and student.
PAIRS: dict[tuple[type[Method], str, str], Published] = {
  (Fcfd, teacher, student): published
  for teacher, student, published in (
    ('resnet32x4', 'resnet8x4', _fcfd(0.05, 4.0)),
    ('resnet56', 'resnet20', _fcfd(0.05, 4.0, features=0.02)),
    ('wrn_40_2', 'wrn_16_2', _fcfd(0.05, 4.0, mixed=0.2)),
    ('wrn_40_2', 'wrn_40_1', _fcfd(0.05, 4.0)),
    ('vgg13', 'vgg8', _fcfd(0.05, 4.0)),
    ('resnet32x4', 'ShuffleV1', _fcfd(0.01, 8.0)),
    ('wrn_40_2', 'ShuffleV1', _fcfd(0.01, 4.0)),
    ('resnet32x4', 'ShuffleV2', _fcfd(0.01, 8.0)),
    ('vgg13', 'MobileNetV2', _fcfd(0.01, 4.0)),
    ('ResNet50', 'MobileNetV2', _fcfd(0.01, 8.0)),
    ('resnet32x4o', 'ShuffleV1', _fcfd(0.01, 8.0)),
    ('ResNet50o', 'MobileNetV2', _fcfd(0.01, 8.0)),
    ('imagenet_resnet34', 'imagenet_resnet18', _fcfd_imagenet(0.02)),
    ('imagenet_resnet50', 'imagenet_mobilenet_v1', _fcfd_imagenet(5.0)),
  )
}
PAIRS |= {
  (Lshfm, teacher, student): _lshfm(student)
  for teacher, student in (
    ('wrn_40_2', 'wrn_16_2'),
    ('wrn_40_2', 'wrn_40_1'),
    ('resnet56', 'resnet20'),
    ('resnet110', 'resnet20'),
    ('resnet110', 'resnet32'),
    ('resnet32x4', 'resnet8x4'),
    ('vgg13', 'vgg8'),
    ('vgg13', 'MobileNetV2'),
    ('ResNet50', 'MobileNetV2'),
    ('ResNet50', 'vgg8'),
    ('resnet32x4', 'ShuffleV1'),
    ('resnet32x4', 'ShuffleV2'),
    ('wrn_40_2', 'ShuffleV1'),
  )
}
PAIRS |= {
  (Lshfm, teacher, student): _lshfm_imagenet(spread)
  for teacher, student, spread in (
    ('imagenet_resnet34', 'imagenet_resnet18', 0.06),
    ('imagenet_resnet101', 'imagenet_resnet50', 0.03),
    ('imagenet_resnet101', 'imagenet_mobilenet_v2', 0.03),
  )
}
# In no table: the settings of the other pairs, with the standard deviation of
# the teacher's classifier for the hashes.
PAIRS[Lshfm, 'imagenet_resnet50', 'imagenet_mobilenet_v1'] = _lshfm_imagenet(
  None, source="LSHFM, as ImageNet's other pairs"
)
PAIRS |= {
  (Kd, teacher, student): _kd_imagenet()
  for teacher, student in (
    ('imagenet_resnet34', 'imagenet_resnet18'),
    ('imagenet_resnet50', 'imagenet_mobilenet_v1'),
  )
}
# In no table: the settings of the most similar pair.
PAIRS[Fcfd, 'resnet110', 'resnet32'] = dataclasses.replace(
  PAIRS[Fcfd, 'resnet56', 'resnet20'], source='FCFD, as resnet56 to resnet20'
)


def find(method: Method, teacher: str, student: str) -> Published | None:
  """Returns the row of a method on a pair, or of a part of a combination.

  Of several rows it is the first that has a recipe.
  """
  parts = [method]
  if isinstance(method, Combination):
    parts = list(method.parts().values())
  rows = [PAIRS.get((type(part), teacher, student)) for part in parts]
  found = [row for row in rows if row is not None]
  return next((row for row in found if row.recipe), (found or [None])[0])
