"""Command lines of all commands and the spellings of their flags."""

import dataclasses
import pathlib
import re

import pytest

from experiments import (
  cifar,
  compare,
  digits,
  export,
  imagenet,
  kd2m,
  multilabel,
  teachers,
  transfer,
)
from kdjax.cli import flags
from kdjax.cli.command import resume_command
from kdjax.cli.compilation import Compilation
from kdjax.cli.processes import Processes
from kdjax.cli.work_folder import WorkFolder
from kdjax.methods import Kd, Kd2m, Supervised

COMMANDS = {
  module.__name__.rpartition('.')[2]: module.COMMAND
  for module in (cifar, compare, digits, imagenet, kd2m, multilabel, transfer)
}


def parse(name, *argv):
  """Parses the arguments of a command with a work folder."""
  return COMMANDS[name].parse(argv)


def read(name, *argv):
  """Returns the settings that any command parses from its arguments."""
  if name == 'export':
    return flags.parse_config(
      export.Config, argv, name='experiments.export', description=None
    )
  if name == 'teachers':
    return flags.parse_subcommand(
      {'evaluate': teachers.Evaluate},
      ['evaluate', *argv],
      name='experiments.teachers',
      description=None,
    )
  return parse(name, *argv).config


# Flags of each command with one value, and with several.
SINGLE = {
  'cifar': [
    ('method', 'fcfd'),
    ('student', 'ShuffleV1'),
    ('teacher', 'wrn_40_2'),
    ('method.projection', 'linear'),
    ('teacher_limit', '3'),
    ('batch_size', '7'),
  ],
  'compare': [('student', 'resnet8'), ('teacher_epochs', '2')],
  'digits': [('method', 'kd'), ('method.metric', 'w2'), ('data_dir', 'x')],
  'export': [('format', 'orbax'), ('output', 'here')],
  'imagenet': [
    ('method', 'lshfm'),
    ('student', 'imagenet_mobilenet_v1'),
    ('image_size', '32'),
    ('timed_steps', '9'),
  ],
  'kd2m': [('method', 'kd2m'), ('method.scale', 'none'), ('dataset', 'x')],
  'multilabel': [
    ('dataset', 'coco2014'),
    ('dataset', 'coco:x'),
    ('method', 'kd'),
    ('align_epochs', '3'),
  ],
  'teachers': [('network', 'resnet8'), ('batch_size', '3')],
  'transfer': [('dataset', 'cifar10'), ('mobile_learning_rate', '0.5')],
}
SEVERAL = {
  'cifar': [('seeds', '0', '1', '2'), ('decay_at', '0.1', '0.2')],
  'compare': [
    ('methods', 'kd', 'icd'),
    ('changes', 'kd.weight=2', 'kd.temperature=1'),
  ],
  'digits': [('seeds', '3', '4'), ('teacher_mean', '0.1', '0.2')],
  'export': [],
  'imagenet': [('seeds', '3', '4')],
  'kd2m': [('metrics', 'w2', 'cw2'), ('weight_factors', '0.1', '1')],
  'multilabel': [('seeds', '3', '4')],
  'teachers': [('mean', '0.1', '0.2', '0.3')],
  'transfer': [('run', 'a', 'b'), ('names', 'a', 'b'), ('seeds', '1', '2')],
}
NEEDED = {'export': ['--run=r'], 'teachers': ['--checkpoint=c']}


@pytest.mark.parametrize(
  ('name', 'flag', 'value'),
  [(name, *one) for name, all_ in SINGLE.items() for one in all_],
)
def test_all_spellings_of_a_flag_are_equivalent(name, flag, value):
  needed = NEEDED.get(name, [])
  hyphens = flag.replace('_', '-')
  spellings = [
    [f'--{flag}={value}'],
    [f'--{flag}', value],
    [f'--{hyphens}={value}'],
    [f'--{hyphens}', value],
  ]
  wanted, *others = (read(name, *needed, *given) for given in spellings)
  assert wanted != read(name, *needed) or value == 'kd2m'  # its only method
  assert all(other == wanted for other in others)


@pytest.mark.parametrize(
  ('name', 'flag', 'values'),
  [(name, one, more) for name, all_ in SEVERAL.items() for one, *more in all_],
)
def test_all_spellings_of_a_list_are_equivalent(name, flag, values):
  needed = NEEDED.get(name, [])
  first, *rest = values
  spellings = [
    [f'--{flag}', *values],
    [f'--{flag}={",".join(values)}'],
    [f'--{flag}', ','.join(values)],
    [f'--{flag}={first}', *rest],
    [f'--{flag.replace("_", "-")}', *values],
  ]
  wanted, *others = (read(name, *needed, *given) for given in spellings)
  holder = wanted if hasattr(wanted, flag) else wanted.recipe
  assert len(getattr(holder, flag)) == len(values)
  assert all(other == wanted for other in others)


def test_recipe_depends_on_the_dataset_flag_in_either_spelling():
  voc, coco = read('multilabel'), read('multilabel', '--dataset', 'coco2014')
  assert (voc.recipe.batch_size, coco.recipe.batch_size) == (16, 32)
  assert (voc.method.weight, coco.method.weight) == (0.5, 3.0)


@pytest.mark.parametrize('name', COMMANDS)
def test_command_without_flags_has_its_defaults(name):
  parsed = parse(name)
  assert parsed.config == COMMANDS[name].make_config()
  assert parsed.folder == WorkFolder()
  assert parsed.processes == Processes()
  assert parsed.compilation == Compilation()
  assert parsed.arguments == []


def test_flags_set_the_configuration():
  config, folder, processes, _, _ = parse(
    'cifar',
    '--method=kd',
    '--method.temperature=3',
    '--epochs=7',
    '--evaluate_every=2',
    '--seeds=3,1',
    '--precision=bfloat16',
    '--limit=5',
    '--workdir=somewhere',
    '--resume',
  )
  assert config.method == Kd(temperature=3.0)
  assert config.recipe.epochs == 7
  assert config.settings.evaluate_every == 2
  assert config.seeds == (3, 1)
  assert config.precision == 'bfloat16'
  assert config.limit == 5
  assert folder == WorkFolder(workdir=pathlib.Path('somewhere'), resume=True)
  assert processes == Processes()


def test_each_method_of_a_combination_has_its_own_flags():
  config = read('cifar', '--method', 'kd+kd2m', '--method.kd.weight=2')
  assert config.method.kd == Kd(weight=2.0, task_weight=1.0)
  assert config.method.kd2m == Kd2m()
  assert config.method.task_weight == 1.0


def test_method_none_is_supervised_training():
  assert isinstance(read('cifar', '--method=none').method, Supervised)


def test_lists_may_be_empty_or_contain_negative_numbers():
  assert read('kd2m', '--baselines').baselines == ()
  method = read('cifar', '--method=ssim', '--method.stages', '-3,-2').method
  assert method.stages == (-3, -2)


@pytest.mark.parametrize(
  'argv',
  [
    ['--epochs=2', '--workdir', 'a b', '--resume', '--seeds', '1'],
    ['--workdir=--odd', '--epochs=2', '--seeds', '1'],
    ['--epochs=2', '--resume', '--seeds', '1', '--workdir', 'a'],
  ],
)
def test_resume_command_has_the_work_folder_and_resume_flag(argv):
  parsed = parse('cifar', *argv)
  again = resume_command(
    'experiments.cifar', parsed.arguments, pathlib.Path('c d')
  )
  assert again == (
    "python -m experiments.cifar --epochs=2 --seeds 1 '--workdir=c d' --resume"
  )


def test_resume_command_keeps_deciding_flags():
  argv = ['--method', 'fcfd', '--seeds', '1', '2', '--student=resnet20']
  parsed = parse('cifar', *argv)
  again = parse('cifar', *parsed.arguments)
  assert again.config == parsed.config
  assert again.arguments == parsed.arguments


@pytest.mark.parametrize('name', [*COMMANDS, 'export', 'teachers'])
def test_help_lists_the_flags_and_the_method(name, capsys):
  with pytest.raises(SystemExit) as stop:
    read(name, '--help')
  assert stop.value.code == 0
  said = capsys.readouterr().out
  assert f'python -m experiments.{name}' in said
  command = COMMANDS.get(name)
  decides = command is not None and 'method' in command.deciding
  assert ('--method STR' in said) == decides


def test_flag_without_a_value_is_named_in_the_error():
  with pytest.raises(ValueError, match='--dataset'):
    read('multilabel', '--dataset')


def help_of(name, capsys):
  """Returns the help of a command as one line without frames."""
  with pytest.raises(SystemExit):
    read(name, '--help')
  return ' '.join(capsys.readouterr().out.replace('│', ' ').split())


def test_help_shows_each_default_once(capsys):
  assert '--limit {None}|INT Training images per class (default: all). --' in (
    help_of('cifar', capsys)
  )
  assert 'Training images per class. (default: 10)' in help_of('digits', capsys)


@pytest.mark.parametrize('name', [*COMMANDS, 'export', 'teachers'])
def test_every_flag_is_described(name):
  config = read(name, *NEEDED.get(name, []))
  own = [config, WorkFolder(), Processes(), Compilation()]
  for settings in ('recipe', 'settings', 'reading'):
    own += [getattr(config, settings)] if hasattr(config, settings) else []
  for one in own:
    for field in dataclasses.fields(one):
      described = [
        kind
        for kind in type(one).__mro__
        if re.search(rf'^    {field.name}: [A-Z`]', kind.__doc__ or '', re.M)
      ]
      assert described, f'{type(one).__name__}.{field.name}'
