"""Defaults that depend on other settings, and flags that override them."""

import dataclasses
import json

import pytest

from experiments import cifar, compare, digits, kd2m, multilabel
from kdjax.cli import defaults
from kdjax.cli.defaults import Default
from kdjax.cli.work_folder import WorkFolder
from kdjax.methods import Fcfd, Kd, Kd2m, create
from kdjax.methods.kd2m_metrics import WEIGHTS
from kdjax.studies import Study
from kdjax.train import Recipe


class NoWork:
  """Placeholder for the work of a command."""

  def __init__(self, config, session):
    self.workdir = session.workdir

  def run(self):
    return Study(self.workdir, has_runs=False)


def resolved(module, *argv):
  """Returns the resolved configuration of a command line."""
  config, _ = module.COMMAND.resolve(module.COMMAND.parse(argv).config)
  return config


@pytest.mark.parametrize(
  ('argv', 'method'),
  [
    ([], Kd2m(metric='cw2', scale='teacher_var', weight=30.0)),
    (
      ['--method.metric=w2'],
      Kd2m(metric='w2', scale='teacher_var', weight=WEIGHTS['w2']),
    ),
    (['--method.scale=none'], Kd2m(metric='cw2', weight=1e-4)),
    (
      ['--method.metric=w2', '--method.weight=0.3'],
      Kd2m(metric='w2', scale='teacher_var', weight=0.3),
    ),
    (
      ['--method.metric=w2', '--method.weight=30'],
      Kd2m(metric='w2', scale='teacher_var', weight=30.0),
    ),
    (
      ['--method.metric=w2', '--method.scale=none', '--method.weight=1e-4'],
      Kd2m(weight=1e-4),
    ),
    (['--method=kd'], Kd()),
  ],
)
def test_default_weight_of_digits_depends_on_the_metric(argv, method):
  assert resolved(digits, *argv).method == method


@pytest.mark.parametrize(
  ('module', 'argv', 'method'),
  [
    (
      multilabel,
      ['--method=kd', '--method.task_weight=0.1', '--method.weight=0.9'],
      Kd(),
    ),
    (kd2m, ['--method.scale=none', '--method.weight=1'], Kd2m(weight=1.0)),
    (
      cifar,
      ['--method=fcfd', '--teacher=resnet56', '--student=resnet20']
      + ['--method.feature_weight=5'],
      Fcfd(),
    ),
  ],
)
def test_explicit_values_equal_to_class_defaults_are_kept(module, argv, method):
  assert resolved(module, *argv).method == method


def test_values_set_in_python_are_kept():
  recipe = dataclasses.replace(multilabel.RECIPE, align_factor=2.0)
  kept = multilabel.Config(method=Kd(), recipe=recipe)
  assert multilabel.COMMAND.resolve(kept) == (kept, [])
  made = dataclasses.replace(
    cifar.COMMAND.make_config(method='fcfd', student='ShuffleV1'),
    recipe=Recipe(),
  )
  assert cifar.COMMAND.resolve(made)[0].recipe.learning_rate == 0.05


def test_defaults_of_a_combination_are_resolved():
  method, filled = defaults.resolve_method(create('kd+kd2m'), 'method')
  assert method.kd2m == Kd2m(weight=1e-4)
  assert [(x.setting, x.value) for x in filled] == [
    ('method.kd2m.weight', 1e-4)
  ]


def test_defaults_of_the_arms_of_a_comparison_are_resolved():
  config = compare.Config(
    methods=('kd2m', 'kd', 'fcfd'),
    changes=('kd2m.metric=cw2', 'kd2m.scale=teacher_var'),
    sweep=('fcfd.feature_weight=1:2',),
  )
  assert config.arms['kd2m'].weight == 30.0
  said = {default.setting: default.value for default in config.arm_defaults}
  assert said['kd2m.weight'] == 30.0
  assert said['fcfd.mixed_weight'] == 1.0
  assert 'fcfd.feature_weight' not in said  # it is swept


def test_overridden_presets_are_not_listed():
  presets = [
    Default('method.weight', 2.0, 'a paper'),
    Default('recipe.learning_rate', 0.5, 'a paper'),
  ]
  config = defaults.apply(cifar.Config(method=Kd()), presets)
  assert (config.method.weight, config.recipe.learning_rate) == (2.0, 0.5)
  changed = dataclasses.replace(config, method=Kd(weight=3.0))
  assert defaults.kept(changed, presets) == presets[1:]
  assert defaults.describe(presets).splitlines()[1:] == [
    '  method.weight 2.0, learning_rate 0.5: a paper'
  ]


def test_resolved_defaults_are_printed_once_and_stored(tmp_path, capsys):
  command = dataclasses.replace(digits.COMMAND, work=NoWork)
  flags = ['--method.metric=w2', f'--workdir={tmp_path}']
  assert command.main(flags) == 0
  source = 'kd2m with metric w2 and scale teacher_var'
  said = capsys.readouterr().err
  assert said.count(f'  method.weight 1.0: {source}') == 1
  stored = json.loads((tmp_path / 'config.json').read_text())
  assert stored['defaults']['method.weight'] == {'value': 1.0, 'source': source}
  assert 'method.metric' not in stored['defaults']  # a flag set it
  assert stored['config']['method']['weight'] == 1.0
  # The same value from a flag is the same configuration.
  assert command.main([*flags, '--method.weight=1', '--resume']) == 0
  assert command.main([*flags, '--method.weight=2', '--resume']) == 2
  assert 'weight: was 1.0, now 2.0' in capsys.readouterr().err


def test_command_without_configuration_uses_its_defaults(tmp_path):
  command = dataclasses.replace(digits.COMMAND, work=NoWork)
  command.run(folder=WorkFolder(workdir=tmp_path))
  stored = json.loads((tmp_path / 'config.json').read_text())
  assert stored['config']['method']['weight'] == 30.0
  assert stored['defaults']['method.metric']['value'] == 'cw2'


def test_make_config_accepts_deciding_flags_only():
  with pytest.raises(TypeError, match='epochs'):
    digits.COMMAND.make_config(epochs='3')
