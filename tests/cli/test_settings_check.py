"""Numbers that no setting can have, refused before anything is made."""

import os

import pytest

from experiments import compare, digits
from kdjax.cli.settings_check import check_settings
from kdjax.methods import Kd, Lshfm, create
from kdjax.train import Recipe


@pytest.mark.parametrize(
  'flag',
  [
    '--method.weight=inf',
    '--method.task_weight=inf',
    '--method.temperature=inf',
    '--method.temperature=nan',
    '--method.weight=nan',
    '--weight_decay=inf',
    '--weight_decay=nan',
    '--learning_rate=nan',
    '--momentum=nan',
    '--decay_at=nan',
    '--teacher_learning_rate=inf',
    '--teacher_mean=nan',
    '--method.weight=1e39',
    '--method.temperature=1e-45',
    '--learning_rate=1e-50',
    '--epochs=3000000000',
    '--evaluate_every=99999999999999999999999',
    '--limit=1000000000000000000000',
    '--cpu_devices=100000000000000000000',
    '--fsdp=0',
  ],
)
def test_a_number_that_cannot_be_is_one_line_and_leaves_nothing(
  tmp_path, monkeypatch, capsys, flag
):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv('KDJAX_CACHE', str(tmp_path / 'cache'))
  assert digits.COMMAND.main(['--method=kd', flag]) == 2
  (said,) = capsys.readouterr().err.strip().splitlines()
  assert said.startswith('error: ')
  name = flag.partition('=')[0].rpartition('.')[2].removeprefix('--')
  assert name in said
  assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
  'change',
  [
    'kd.weight=abc',
    'kd.weight=nan',
    'kd.weight=1e999',
    'kd.weight=[1,2]',
    'kd.weight={}',
    'kd.weight=True',
    'kd.weight=None',
    'kd.weight=',
    'kd.temperature=-1',
    'kd.temperature.x=1',
    'kd.weight.=1',
    'fcfd.directions=1',
    'fcfd.directions=up',
    'fcfd.warmup_epochs=1.5',
    'fcfd.warmup_epochs=99999999999999999999',
    'fcfd.paths=5',
    'lshfm.hashes=1e11',
    'lshfm.hashes=0',
  ],
)
def test_a_change_that_cannot_be_is_one_line(capsys, tmp_path, change):
  status = compare.COMMAND.main(
    [
      '--methods=kd,fcfd,lshfm',
      f'--changes={change}',
      f'--workdir={tmp_path}/w',
    ]
  )
  assert status == 2
  (said,) = capsys.readouterr().err.strip().splitlines()
  assert said.startswith('error: ')
  assert change.partition('=')[0].split('.')[1] in said
  assert not (tmp_path / 'w').exists()


@pytest.mark.parametrize(
  ('flags', 'why'),
  [
    (['--sweep=kd.weight=nan:1'], 'different numbers'),
    (['--sweep=kd.weight=inf:1'], 'different numbers'),
    (['--sweep=fcfd.directions=1:2'], 'directions'),
    (['--sweep', 'kd.weight=1:2', 'kd.weight=3:4'], 'set 2 times'),
    (['--changes', 'kd.weight=1', 'kd.weight=2'], 'set 2 times'),
    (['--changes=kd.weight=1', '--sweep=kd.weight=3:4'], 'set 2 times'),
  ],
)
def test_settings_that_replace_each_other_are_refused(capsys, flags, why):
  assert compare.COMMAND.main(['--methods=kd,fcfd', *flags]) == 2
  (said,) = capsys.readouterr().err.strip().splitlines()
  assert why in said


def test_numbers_that_look_alike_have_arms_of_their_own():
  config = compare.Config(
    methods=('kd',), sweep=('kd.weight=1.00000001:1.00000002',)
  )
  assert len(config.arms) == 2
  assert {arm.weight for arm in config.arms.values()} == {
    1.00000001,
    1.00000002,
  }


def test_steps_of_a_weight_may_be_a_change():
  config = compare.Config(
    methods=('kd',), changes=('kd.weight=[[0, 1], [5, 2.5]]',)
  )
  assert config.arms['kd'].weight == ((0, 1), (5, 2.5))


def test_settings_in_python_are_checked_alike():
  with pytest.raises(ValueError, match='weight_decay must be a finite number'):
    check_settings(digits.Config(recipe=Recipe(weight_decay=float('inf'))))
  for made in (
    lambda: Kd(weight='abc'),
    lambda: Kd(temperature=float('inf')),
    lambda: Lshfm(hashes=True),
    lambda: Lshfm(weight=((0, float('nan')),)),
  ):
    with pytest.raises(ValueError, match=r' of (Kd|Lshfm) must be '):
      made()
  assert create('kd+lshfm').kd.weight == 1.0
