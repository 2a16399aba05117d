"""Published settings of network pairs are the defaults of commands."""

import dataclasses

import jax
import numpy as np
import pytest

from experiments import cifar, compare, imagenet, pair_presets, published
from kdjax import models
from kdjax.cli import defaults
from kdjax.methods import Fcfd, Kd, Lshfm, TrainSpec
from tests.methods.test_bridges import PUBLISHED as BRIDGED

# FCFD's tables: learning rate, T, λ, μ; 240 epochs of CIFAR-100, and ImageNet.
FCFD = {
  ('resnet32x4', 'resnet8x4'): (0.05, 4, 5, 1),
  ('resnet56', 'resnet20'): (0.05, 4, 0.02, 1),
  ('wrn_40_2', 'wrn_16_2'): (0.05, 4, 5, 0.2),
  ('wrn_40_2', 'wrn_40_1'): (0.05, 4, 5, 1),
  ('vgg13', 'vgg8'): (0.05, 4, 5, 1),
  ('resnet32x4', 'ShuffleV1'): (0.01, 8, 5, 1),
  ('wrn_40_2', 'ShuffleV1'): (0.01, 4, 5, 1),
  ('resnet32x4', 'ShuffleV2'): (0.01, 8, 5, 1),
  ('vgg13', 'MobileNetV2'): (0.01, 4, 5, 1),
  ('ResNet50', 'MobileNetV2'): (0.01, 8, 5, 1),
  ('resnet32x4o', 'ShuffleV1'): (0.01, 8, 5, 1),
  ('ResNet50o', 'MobileNetV2'): (0.01, 8, 5, 1),
  ('imagenet_resnet34', 'imagenet_resnet18'): (0.1, 1, 0.02, 1),
  ('imagenet_resnet50', 'imagenet_mobilenet_v1'): (0.1, 1, 5, 1),
}


def _parse(*given):
  return cifar.COMMAND.parse(given).config


@pytest.mark.parametrize(('pair', 'row'), FCFD.items())
def test_fcfd_has_the_published_settings_of_each_pair(pair, row):
  teacher, student = pair
  config = _parse('--method=fcfd', f'--teacher={teacher}', '--student', student)
  method, recipe = config.method, config.recipe
  assert isinstance(method, Fcfd)
  assert (config.teacher, config.student) == pair
  assert row == (
    recipe.learning_rate,
    method.temperature,
    method.feature_weight,
    method.mixed_weight,
  )
  assert recipe.nesterov
  large = teacher.startswith('imagenet')
  assert method.warmup_epochs == (5 if large else 20)
  assert (recipe.epochs, recipe.batch_size, recipe.weight_decay) == (
    (100, 256, 1e-4) if large else (240, 64, 5e-4)
  )
  decays = [round(share * recipe.epochs) for share in recipe.decay_at]
  assert decays == ([30, 60, 90] if large else [150, 180, 210])
  # A teacher trained from scratch has the usual learning rate.
  if not large:
    assert config.teacher_recipe.learning_rate == 0.05


@pytest.mark.slow
def test_every_published_pair_has_networks_and_bridges():
  rows = {tuple(pair) for made, *pair in published.PAIRS if made is Fcfd}
  assert rows == {*FCFD, ('resnet110', 'resnet32')}
  assert set(BRIDGED) == set(FCFD)
  networks = [
    models.create(name, num_classes=100).describe((32, 32, 3))
    for name in ('resnet32', 'resnet110')
  ]
  data = TrainSpec(num_images=8, labels=np.zeros(8, np.int32), num_classes=100)
  jax.eval_shape(
    lambda key: Fcfd().init(key, *networks, data), jax.random.key(0)
  )


@pytest.mark.parametrize(
  ('teacher', 'student', 'rate', 'method'),
  [
    ('resnet110', 'resnet32', 0.05, Lshfm()),
    ('ResNet50', 'MobileNetV2', 0.01, Lshfm(embedding_spread=0.01)),
    (
      'imagenet_resnet101',
      'imagenet_resnet50',
      0.1,
      Lshfm(weight=5.0, hashes=2048, spread=0.03, bias='zero'),
    ),
  ],
)
def test_lshfm_has_the_published_settings_of_each_pair(
  teacher, student, rate, method
):
  config = _parse(
    '--method=lshfm', f'--teacher={teacher}', '--student', student
  )
  assert config.method == method
  assert config.recipe.learning_rate == rate
  assert not config.recipe.nesterov
  large = teacher.startswith('imagenet')
  assert config.recipe.batch_size == (256 if large else 64)


@pytest.mark.parametrize(
  'pair',
  [
    ('imagenet_resnet34', 'imagenet_resnet18'),
    ('imagenet_resnet50', 'imagenet_mobilenet_v1'),
  ],
)
def test_imagenet_pairs_have_settings_for_kd_and_lshfm(pair):
  kd, lshfm, both = (
    imagenet.COMMAND.make_config(method=name, teacher=pair[0], student=pair[1])
    for name in ('kd', 'lshfm', 'kd+fcfd')
  )
  assert kd.method == Kd(task_weight=0.5, weight=0.5, temperature=1.0)
  # In combinations the weights of kd are 1.
  assert both.method.kd == Kd(task_weight=1.0, weight=1.0, temperature=1.0)
  assert both.method.fcfd.warmup_epochs == 5
  spread = 0.06 if pair[1] == 'imagenet_resnet18' else None
  assert lshfm.method == Lshfm(
    weight=5.0, hashes=2048, spread=spread, bias='zero'
  )
  for config in (kd, lshfm, both):
    recipe = config.recipe
    assert (recipe.epochs, recipe.batch_size) == (100, 256)
    assert (recipe.learning_rate, recipe.weight_decay) == (0.1, 1e-4)
    assert recipe.nesterov == (config is both)
    assert recipe.decay_at == (0.3, 0.6, 0.9)


def test_flags_override_published_settings():
  config = _parse(
    '--method=fcfd',
    '--teacher=resnet56',
    '--student=resnet20',
    '--method.temperature=2',
    '--learning_rate=0.3',
  )
  assert config.method.temperature == 2
  assert config.method.feature_weight == 0.02
  assert config.recipe.learning_rate == 0.3


def printed_defaults(config):
  """Returns the text about the defaults of a configuration."""
  presets = pair_presets.presets(
    cifar.Config(
      method=config.method, teacher=config.teacher, student=config.student
    )
  )
  return defaults.describe(defaults.kept(config, presets))


def test_published_defaults_are_printed_with_their_source():
  text = printed_defaults(_parse('--method=fcfd', '--student=ShuffleV1'))
  for part in (
    'fcfd for resnet32x4 to ShuffleV1',
    'temperature 8',
    'learning_rate 0.01',
    'FCFD, CIFAR-100',
  ):
    assert part in text
  assert 'no settings are published for kd on' in printed_defaults(
    _parse('--method=kd')
  )


def test_overridden_settings_are_not_printed_as_published():
  text = printed_defaults(_parse('--method=fcfd', '--method.temperature=2'))
  assert 'method.feature_weight 5.0' in text
  assert 'temperature' not in text


def test_combination_has_the_published_settings_of_its_methods():
  config = _parse(
    '--method=fcfd+kd2m', '--teacher=resnet56', '--student=resnet20'
  )
  assert config.method.parts()['fcfd'].feature_weight == 0.02
  assert config.recipe.nesterov


def test_mobile_students_have_a_lower_learning_rate():
  config = _parse('--method=kd', '--student=MobileNetV2')
  assert config.recipe.learning_rate == 0.01
  assert config.teacher_recipe.learning_rate == 0.05
  assert config.recipe == dataclasses.replace(
    _parse('--method=kd').recipe, learning_rate=0.01
  )


def test_arms_have_published_settings_and_the_given_changes():
  config = compare.Config(
    methods=('kd', 'fcfd_appearance', 'fcfd+kd'),
    changes=('kd.temperature=2', 'fcfd+kd.fcfd.directions=s2t'),
  )
  arms = config.arms
  assert arms['kd'] == Kd(temperature=2)
  assert arms['fcfd_appearance'] == Fcfd(
    feature_weight=0.02, directions='nomix'
  )
  assert arms['fcfd+kd'].fcfd == Fcfd(feature_weight=0.02, directions='s2t')


@pytest.mark.parametrize(
  ('settings', 'message'),
  [
    ({'methods': ('kd', 'kd')}, 'different and at least one'),
    ({'methods': ()}, 'different and at least one'),
    ({'methods': ('fcdf',)}, "'fcdf'; did you mean 'fcfd'"),
    ({'changes': ('kd.temperature',)}, r'ARM.SETTING=VALUE.*kd\.temperature'),
    ({'changes': ('icd.width=3',)}, 'an arm of kd, fcfd_appearance, fcfd'),
    ({'changes': ('kd.warmth=3',)}, "Kd has no setting 'warmth'"),
    ({'changes': ('kd.temperature=0',)}, 'temperature of Kd must be positive'),
  ],
)
def test_invalid_arms_raise_an_error(settings, message):
  with pytest.raises(ValueError, match=message):
    compare.Config(**settings)
