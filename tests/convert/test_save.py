"""Saving weights, and loading the saved files."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors

from kdjax import convert, models
from kdjax.convert.torch import layout as torch_layout
from kdjax.convert.torch import names
from tests.golden import weights

pytestmark = pytest.mark.usefixtures('hasty_compiler')

# The smallest network of each family of PyTorch names.
SMALLEST = {
  'convnet_': 'convnet_4_8',
  'resnet': 'resnet8',
  'ResNet50': 'ResNet50',
  'cifar10_resnet': 'cifar10_resnet20',
  'cifar100_resnet': 'cifar100_resnet8',
  'imagenet_resnet': 'imagenet_resnet18',
  'wrn_': 'wrn_16_1',
  'vgg': 'vgg8',
  'MobileNetV2': 'MobileNetV2',
  'ShuffleV': 'ShuffleV2',
  'imagenet_mobilenet_v1': 'imagenet_mobilenet_v1',
  'imagenet_mobilenet_v2': 'imagenet_mobilenet_v2',
  'vit_': 'vit_tiny_patch16',
}


def torch_arrays(rules: names.Rules, template) -> dict[str, np.ndarray]:
  """Random numbers under PyTorch's names and in its layout."""
  random = np.random.default_rng(0)
  empty = jax.tree.map(lambda x: np.broadcast_to(0.0, x.shape), template)
  return {
    key: random.standard_normal(array.shape, np.float32)
    for key, array in torch_layout.to_torch(empty, rules).items()
  }


# Families whose smallest network takes seconds.
LARGE = ('imagenet_mobilenet_v2', 'ResNet50', 'MobileNetV2')


def test_every_family_of_names_is_tested():
  assert SMALLEST.keys() == names.FAMILIES.keys()


@pytest.mark.parametrize(
  'family',
  [
    pytest.param(name, marks=pytest.mark.slow if name in LARGE else ())
    for name in SMALLEST
  ],
)
def test_round_trip_is_bit_identical(tmp_path, family):
  name = SMALLEST[family]
  template = weights.template(name, 7, (32, 32, 3))
  arrays = torch_arrays(names.rules_of(name), template)
  np.savez(tmp_path / 'in.npz', **arrays)
  variables = convert.load(tmp_path / 'in.npz', template, network=name)
  shapes = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), variables)
  assert shapes == jax.tree.map(lambda x: (x.shape, x.dtype), template)

  out = tmp_path / 'out.safetensors'
  convert.save_safetensors(out, variables, naming='torch', network=name)
  back = convert.read(out)
  assert back.keys() == arrays.keys()
  for key, array in arrays.items():
    assert back[key].tobytes() == array.tobytes(), key

  convert.save_safetensors(out, variables)
  again = convert.load(out, template, network=name)
  equal = jax.tree.map(np.array_equal, again, variables)
  assert all(jax.tree.leaves(equal))


LIBRARY_NAMES = {
  ('imagenet_resnet18', 'timm'): ('layer2.0.downsample.0.weight', 'fc.bias'),
  ('imagenet_mobilenet_v2', 'timm'): (
    'conv_stem.weight',
    'blocks.0.0.conv_dw.weight',
    'blocks.0.0.bn2.running_var',
    'blocks.6.0.conv_pwl.weight',
    'conv_head.weight',
    'classifier.bias',
  ),
  ('imagenet_mobilenet_v2', 'torchvision'): ('features.18.1.running_mean',),
  ('vit_tiny_patch16', 'timm'): ('blocks.11.attn.qkv.weight',),
  ('vit_tiny_patch16', 'torchvision'): (
    'class_token',
    'conv_proj.bias',
    'encoder.pos_embedding',
    'encoder.layers.encoder_layer_11.self_attention.in_proj_weight',
    'encoder.layers.encoder_layer_11.self_attention.out_proj.bias',
    'encoder.layers.encoder_layer_11.mlp.3.bias',
    'heads.head.weight',
  ),
  ('vit_tiny_patch16', 'torchvision_1'): (
    'encoder.layers.encoder_layer_11.mlp.linear_2.bias',
  ),
}


@pytest.mark.parametrize(('name', 'library'), LIBRARY_NAMES)
def test_library_names_round_trip(tmp_path, name, library):
  template = weights.template(name, 7, (32, 32, 3))
  rules = names.rules_of(name, library)
  arrays = torch_arrays(rules, template)
  assert set(LIBRARY_NAMES[name, library]) <= arrays.keys()
  assert len(arrays) == len(jax.tree.leaves(template))
  np.savez(tmp_path / 'in.npz', **arrays)
  variables = convert.load(tmp_path / 'in.npz', template, network=name)
  want = torch_layout.from_torch(arrays, template, rules)
  assert all(jax.tree.leaves(jax.tree.map(np.array_equal, variables, want)))

  out = tmp_path / 'out.safetensors'
  convert.save_safetensors(out, variables, naming=library, network=name)
  back = convert.read(out)
  assert back.keys() == arrays.keys()
  for key, array in arrays.items():
    assert back[key].tobytes() == array.tobytes(), key


def test_every_library_is_tested():
  smallest = {
    'imagenet_resnet': 'imagenet_resnet18',
    'vit_': 'vit_tiny_patch16',
  }
  known = {
    (smallest.get(prefix, prefix), library)
    for prefix, libraries in names.LIBRARIES.items()
    for library in libraries
  }
  assert known - LIBRARY_NAMES.keys() == {('imagenet_resnet18', 'torchvision')}


def test_library_without_the_network_raises_an_error(tmp_path):
  variables = {'params': {'head': {'bias': np.zeros(3, np.float32)}}}
  for name, others in (
    ('resnet20', 'no library'),
    ('vit_tiny_patch16', 'timm, torchvision, torchvision_1'),
  ):
    with pytest.raises(ValueError, match=f"keras.*'{name}'.*those of {others}"):
      convert.save_safetensors(
        tmp_path / 'x', variables, naming='keras', network=name
      )


def test_saved_file_has_metadata(tmp_path):
  network = models.create('convnet_4_8', num_classes=3)
  variables = network.initialize(jax.random.key(0), (8, 8, 1))
  path = tmp_path / 'deep' / 'file'
  about = {'mean': [0.25], 'std': [0.5], 'num_classes': 3}
  convert.save_safetensors(
    path, variables, naming='torch', network=network.name, about=about
  )
  with safetensors.safe_open(path, 'numpy') as file:
    metadata = file.metadata()
  assert metadata['format'] == 'pt'
  assert json.loads(metadata['kdjax']) == {'network': 'convnet_4_8', **about}
  assert convert.described(path)['network'] == 'convnet_4_8'
  assert [entry.name for entry in path.parent.iterdir()] == ['file']


def test_torch_naming_requires_a_known_network(tmp_path):
  variables = {'params': {'dense': {'kernel': np.zeros((2, 3), np.float32)}}}
  with pytest.raises(ValueError, match='name of the network'):
    convert.save_safetensors(tmp_path / 'x', variables, naming='torch')
  with pytest.raises(ValueError, match="No PyTorch names are known for 'mine'"):
    convert.save_safetensors(
      tmp_path / 'x', variables, naming='torch', network='mine'
    )


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_stablehlo_accepts_any_batch_size(tmp_path, dtype):
  network = models.create(
    'convnet_4_8', num_classes=3, dtype=dtype, mean=(0.25,), std=(0.5,)
  )
  variables = network.initialize(jax.random.key(0), (8, 8, 1))
  path = tmp_path / 'program'
  convert.save_stablehlo(path, network, variables, (8, 8, 1))
  program = jax.export.deserialize(pathlib.Path(path).read_bytes())
  assert program.platforms == ('cpu', 'cuda', 'tpu')

  @jax.jit  # without jit bfloat16 is rounded at other points
  def logits(images):
    features, _ = network.apply(variables, images, train=False)
    return features.logits.astype(jnp.float32)

  for batch in (1, 5):
    images = jax.random.uniform(jax.random.key(batch), (batch, 8, 8, 1))
    got = program.call(images)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, logits(images))


@pytest.mark.slow
@pytest.mark.parametrize('family', SMALLEST)
def test_stablehlo_of_every_family_matches_the_network(tmp_path, family):
  network = models.create(SMALLEST[family], num_classes=7)
  variables = network.initialize(jax.random.key(0), (32, 32, 3))
  convert.save_stablehlo(tmp_path / 'p', network, variables, (32, 32, 3))
  program = jax.export.deserialize((tmp_path / 'p').read_bytes())
  images = jax.random.uniform(jax.random.key(1), (2, 32, 32, 3))
  want = network.apply(variables, images, train=False)[0].logits
  np.testing.assert_allclose(program.call(images), want, rtol=1e-4, atol=1e-4)
