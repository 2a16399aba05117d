"""The zoo by name: published sizes, boundaries and PyTorch names."""

import jax
import numpy as np
import pytest
from absl.testing import parameterized

from kdjax import models
from kdjax.convert.torch import layout as torch_layout
from kdjax.convert.torch import names

_RESNET = (16, 16, 32, 64)
_WIDE = (64, 256, 512, 1024, 2048)
_VGG = (64, 128, 256, 512, 512)
# Trainable parameters with 100 classes and the boundaries' channels.
_CIFAR = {
  'resnet8': (83_892, _RESNET),
  'resnet14': (181_108, _RESNET),
  'resnet20': (278_324, _RESNET),
  'resnet32': (472_756, _RESNET),
  'resnet44': (667_188, _RESNET),
  'resnet56': (861_620, _RESNET),
  'resnet110': (1_736_564, _RESNET),
  'resnet8x4': (1_233_540, (32, 64, 128, 256)),
  'resnet32x4': (7_433_860, (32, 64, 128, 256)),
  'ResNet50': (23_705_252, _WIDE),
  'wrn_16_1': (180_916, _RESNET),
  'wrn_16_2': (703_284, (16, 32, 64, 128)),
  'wrn_40_1': (569_780, _RESNET),
  'wrn_40_2': (2_255_156, (16, 32, 64, 128)),
  'vgg8': (3_965_028, _VGG),
  'vgg11': (9_277_284, _VGG),
  'vgg13': (9_462_180, _VGG),
  'vgg16': (14_774_436, _VGG),
  'vgg19': (20_086_692, _VGG),
  'MobileNetV2': (812_836, (16, 12, 16, 48, 1280)),
  'ShuffleV1': (949_258, (24, 240, 480, 960)),
  'ShuffleV2': (1_355_528, (24, 116, 232, 1024)),
}
# Heights and kind of the boundaries by prefix of the name: FCFD's table.
_BOUNDARIES = {
  'resnet': ((32, 32, 16, 8), 'post_relu'),
  'ResNet50': ((32, 32, 16, 8, 4), 'post_relu'),
  'wrn_': ((32, 32, 16, 8), 'pre_norm'),
  'vgg': ((32, 16, 8, 4, 4), 'pre_relu'),
  'MobileNetV2': ((16, 16, 8, 4, 2), 'pre_relu'),
  'ShuffleV1': ((32, 16, 8, 4), 'pre_relu'),
  'ShuffleV2': ((32, 16, 8, 4), 'post_relu'),
}
# With 1000 classes at 224 pixels: height and channels of the boundaries.
_IMAGENET = {
  'imagenet_resnet18': (11_689_512, (64, 64, 128, 256, 512)),
  'imagenet_resnet34': (21_797_672, (64, 64, 128, 256, 512)),
  'imagenet_resnet50': (25_557_032, _WIDE),
  'imagenet_resnet101': (44_549_160, _WIDE),
  'imagenet_mobilenet_v1': (4_231_976, (32, 128, 256, 512, 1024)),
  'imagenet_mobilenet_v2': (3_504_872, (32, 24, 32, 96, 1280)),
  'vit_tiny_patch16': (5_717_416, (192,) * 5),
  'vit_small_patch16': (22_050_664, (384,) * 5),
  'vit_base_patch16': (86_567_656, (768,) * 5),
}
# Resolution of the stages after the stem.
_HALVINGS = (56, 28, 14, 7)


def _num_parameters(spec) -> int:
  return sum(leaf.size for leaf in jax.tree.leaves(spec.variables['params']))


def _channels(spec) -> tuple[int, ...]:
  return tuple(hidden.shape[-1] for hidden in spec.features.boundaries)


class ZooTest(parameterized.TestCase):
  @parameterized.parameters(*_CIFAR)
  def test_cifar_networks_have_published_sizes_and_boundaries(self, name):
    spec = models.create(name, num_classes=100).describe((32, 32, 3))
    self.assertEqual((_num_parameters(spec), _channels(spec)), _CIFAR[name])
    heights = tuple(hidden.shape[1] for hidden in spec.features.boundaries)
    (cut,) = [
      cut for prefix, cut in _BOUNDARIES.items() if name.startswith(prefix)
    ]
    self.assertEqual((heights, spec.boundary), cut)

  @parameterized.parameters('resnet8', 'resnet32x4', 'ResNet50')
  def test_o_networks_have_the_same_weights_and_pre_relu_boundaries(self, name):
    spec, cut = (
      models.create(each, num_classes=100).describe((32, 32, 3))
      for each in (name, f'{name}o')
    )
    self.assertEqual(cut.variables, spec.variables)
    self.assertEqual(cut.boundary, 'pre_relu')
    self.assertEqual(names.rules_of(f'{name}o'), names.rules_of(name))

  @parameterized.parameters(*_IMAGENET)
  def test_imagenet_networks_have_published_sizes(self, name):
    spec = models.create(name, num_classes=1000).describe((224, 224, 3))
    self.assertEqual((_num_parameters(spec), _channels(spec)), _IMAGENET[name])
    heights = tuple(stage.shape[1] for stage in spec.features.stages[1:])
    vit = name.startswith('vit_')
    self.assertEqual(heights, (14,) * 4 if vit else _HALVINGS)

  @parameterized.parameters((8, 1), (24, 3), (64, 2))
  def test_image_size_and_channels_are_free(self, size, channels):
    for name in ('convnet_4_8', 'resnet8', 'wrn_16_1', 'vgg8', 'ShuffleV2'):
      network = models.create(name, num_classes=5)
      spec = network.describe((size, size, channels), batch_size=3)
      self.assertEqual(spec.features.logits.shape, (3, 5))

  @parameterized.parameters((32, 4), (64, 4), (16, 2))
  def test_vgg_has_a_fourth_pooling_for_64_pixels_and_more(self, size, last):
    spec = models.create('vgg8', num_classes=5).describe((size, size, 3))
    self.assertEqual(spec.features.boundaries[-1].shape[1], last)

  def test_unsuitable_image_sizes_raise_an_error(self):
    narrow = models.create('cifar100_resnet8', num_classes=5)
    with self.assertRaisesRegex(ValueError, 'windows of 4.*2 by 2'):
      narrow.describe((8, 8, 3))
    vit = models.create('vit_tiny_patch16', num_classes=5)
    with self.assertRaisesRegex(ValueError, '16 pixels.*got 40 by 40'):
      vit.describe((40, 40, 3))

  @parameterized.parameters(
    ('resnet33', 'resnet32'), ('RESNET20', 'resnet20'), ('wrn402', 'wrn_40_2')
  )
  def test_unknown_name_suggests_the_nearest(self, name, near):
    with self.assertRaisesRegex(ValueError, f"'{name}'.*'{near}'"):
      models.create(name, num_classes=2)


# Some names and shapes of torchvision, timm and the papers' code.
_PYTORCH = {
  'imagenet_resnet50': {
    'conv1.weight': (64, 3, 7, 7),
    'layer1.0.downsample.0.weight': (256, 64, 1, 1),
    'layer3.5.bn3.running_var': (1024,),
    'fc.weight': (1000, 2048),
  },
  'imagenet_mobilenet_v1': {
    'model.0.1.weight': (32,),
    'model.2.0.weight': (64, 1, 3, 3),
    'model.13.3.weight': (1024, 1024, 1, 1),
    'fc.bias': (1000,),
  },
  'imagenet_mobilenet_v2': {
    'features.0.0.weight': (32, 3, 3, 3),
    'features.1.conv.0.0.weight': (32, 1, 3, 3),
    'features.1.conv.2.running_mean': (16,),
    'features.2.conv.0.0.weight': (96, 16, 1, 1),
    'features.7.conv.1.0.weight': (192, 1, 3, 3),
    'features.17.conv.2.weight': (320, 960, 1, 1),
    'features.18.1.weight': (1280,),
    'classifier.1.weight': (1000, 1280),
  },
  'vit_tiny_patch16': {
    'cls_token': (1, 1, 192),
    'pos_embed': (1, 197, 192),
    'patch_embed.proj.weight': (192, 3, 16, 16),
    'blocks.11.attn.qkv.weight': (576, 192),
    'blocks.3.mlp.fc1.weight': (768, 192),
    'norm.weight': (192,),
    'head.weight': (1000, 192),
  },
}


@pytest.mark.parametrize('name', sorted(models.NETWORKS))
def test_every_variable_has_a_unique_pytorch_name(name):
  variables = models.create(name, num_classes=3).describe((32, 32, 3)).variables
  found = torch_layout.torch_names(variables, names.rules_of(name))
  assert len(set(found.values())) == len(jax.tree.leaves(variables))


@pytest.mark.parametrize('name', sorted(_PYTORCH))
def test_pytorch_names_and_shapes(name):
  spec = models.create(name, num_classes=1000).describe((224, 224, 3))
  empty = jax.tree.map(lambda leaf: np.empty(leaf.shape), spec.variables)
  arrays = torch_layout.to_torch(empty, names.rules_of(name))
  for key, shape in _PYTORCH[name].items():
    assert arrays[key].shape == shape, key


@pytest.mark.parametrize(
  'name', ['resnet8', 'wrn_16_1', 'ShuffleV1', 'MobileNetV2', 'convnet_4_8']
)
def test_pytorch_layout_round_trip_is_bit_identical(name):
  spec = models.create(name, num_classes=3).describe((32, 32, 3))
  rng = np.random.default_rng(0)
  variables = jax.tree.map(
    lambda leaf: rng.normal(size=leaf.shape).astype(leaf.dtype), spec.variables
  )
  rules = names.rules_of(name)
  arrays = torch_layout.to_torch(variables, rules)
  back = torch_layout.from_torch(arrays, spec.variables, rules)
  jax.tree.map(np.testing.assert_array_equal, back, variables)
