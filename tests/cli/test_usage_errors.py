"""A command line that cannot be parsed: one line with the nearest flags."""

import pytest

from experiments import cifar, compare, export, teachers
from kdjax.cli import usage_errors


def line(capsys, main, *argv):
  """Returns the only line that a command prints, which must fail."""
  assert main(list(argv)) == 2
  printed = capsys.readouterr()
  assert not printed.out
  (only,) = printed.err.strip().splitlines()
  assert only.startswith('error: ')
  return only


@pytest.mark.parametrize(
  ('flag', 'nearest'),
  [
    ('--metod=kd', '--method'),
    ('--lr=0.1', '--learning_rate'),
    ('--wd=0.1', '--weight_decay'),
    ('--temperature=2', '--method.temperature'),
    ('--method.temprature=2', '--method.temperature'),
    ('--epoch=3', '--epochs'),
    ('--batchsize=3', '--batch_size'),
    ('--seed=1', '--seeds'),
    ('--teacher-ckpt=x', '--teacher'),
  ],
)
def test_a_misspelled_flag_names_the_nearest(capsys, flag, nearest):
  said = line(capsys, cifar.COMMAND.main, '--method=kd', flag)
  name = flag.partition('=')[0].replace('-', '_').lstrip('_')
  assert f'there is no flag --{name}; did you mean {nearest}' in said
  assert '--help lists the flags' in said


def test_several_misspelled_flags_are_all_named(capsys):
  said = line(capsys, cifar.COMMAND.main, '--lr', '1', '--qqq=2')
  assert 'no flag --lr; did you mean --learning_rate?' in said
  assert 'there is no flag --qqq.' in said


@pytest.mark.parametrize(
  ('argv', 'why'),
  [
    (['--limit=abc'], "--limit: invalid literal for int() with base 10: 'abc'"),
    (['--epochs=3e9'], '--epochs: invalid literal for int()'),
    (['--cpu_devices=1e20'], '--cpu_devices: invalid literal for int()'),
    (['--epochs=0'], 'error: epochs must be at least 1, got 0.'),
    (['--workdir='], "--workdir: '' is not a path"),
    (['--workdir=foo://bar'], '--workdir: foo://bar is not a path: foo://'),
    (['--data_dir=gs://b/x'], '--data_dir: gs://b/x is a URL'),
    (['--teacher_checkpoint='], "--teacher_checkpoint: '' is not a path"),
    (['stray'], 'stray'),
    (['--dataset'], '--dataset'),
    (['--precision=float16'], 'float16'),
  ],
)
def test_a_value_that_cannot_be_is_one_line(capsys, argv, why):
  assert why in line(capsys, cifar.COMMAND.main, *argv)


def test_every_command_says_so(capsys):
  assert '--run' in line(capsys, export.main, '--rum=x')
  said = line(capsys, teachers.main, 'evaluate', '--chekpoint=x')
  assert 'did you mean --checkpoint?' in said
  line(capsys, teachers.main, 'evalute')
  line(capsys, compare.COMMAND.main, '--method=kd')


def test_a_long_name_is_shortened(capsys):
  said = line(capsys, cifar.COMMAND.main, f'--method={"x" * 5000}')
  assert "Unknown method 'xxx" in said
  assert len(said) < 500


def test_the_nearest_flags():
  flags = ['method', 'method.weight', 'learning_rate', 'workdir', 'workers']
  assert usage_errors.nearest('weight', flags)[0] == 'method.weight'
  assert usage_errors.nearest('lr', flags) == ['learning_rate']
  assert usage_errors.nearest('work', flags) == ['workdir', 'workers']
  assert usage_errors.nearest('zzz', flags) == []


@pytest.mark.parametrize(
  ('main', 'flags', 'flag'),
  [
    (cifar.COMMAND.main, ['--seeds', '0', '--seeds', '1'], 'seeds'),
    (
      compare.COMMAND.main,
      ['--sweep', 'kd.weight=1:2', '--sweep=kd.temperature=2:4'],
      'sweep',
    ),
    (compare.COMMAND.main, ['--methods', 'kd', '--methods', 'icd'], 'methods'),
  ],
)
def test_a_list_that_is_given_twice_is_refused(capsys, main, flags, flag):
  said = line(capsys, main, *flags)
  assert f'--{flag} is given 2 times; give it once with all values' in said


def test_a_single_value_that_is_given_twice_is_the_last_one():
  parsed = cifar.COMMAND.parse(['--epochs=3', '--epochs=2'])
  assert parsed.config.recipe.epochs == 2
