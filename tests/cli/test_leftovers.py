"""What a command that fails or meets files of the user leaves behind."""

import json
import os
import pathlib

import pytest

from experiments import cifar, digits
from kdjax.cli import work_folder
from tests.experiments import commands


@pytest.fixture
def here(tmp_path, monkeypatch):
  """The current folder, empty."""
  folder = tmp_path / 'here'
  folder.mkdir()
  monkeypatch.chdir(folder)
  return folder


@pytest.mark.parametrize(
  'flag',
  [
    '--dataset=npz:missing.npz',
    '--student=no_network',
    '--student_init=missing.safetensors',
    '--teacher_checkpoint=missing.safetensors',
    '--batch_size=100000',
  ],
)
def test_a_command_that_fails_leaves_no_folder(here, toy, flag):
  flags = [*commands.SMALL, toy, flag]
  assert cifar.COMMAND.main(flags) == 2
  assert not os.listdir(here)
  assert cifar.COMMAND.main([*flags, '--workdir=a/b/w']) == 2
  assert not os.listdir(here)


def test_folders_of_the_user_stay(here, toy):
  (here / 'runs').mkdir()
  (here / 'mine').mkdir()
  flags = [*commands.SMALL, toy, '--student=no_network']
  assert cifar.COMMAND.main(flags) == 2
  assert cifar.COMMAND.main([*flags, '--workdir=mine']) == 2
  assert cifar.COMMAND.main([*flags, '--workdir=mine/w']) == 2
  assert sorted(os.listdir(here)) == ['mine', 'runs']
  assert not os.listdir('mine')


def test_a_folder_with_runs_stays_when_a_command_fails(here):
  about = {'command': 'c', 'config': {}}

  def fail():
    with work_folder.hold('w', about, resume=False):
      (here / 'w' / 'config.json').write_text(json.dumps(about))
      (here / 'w' / 'runs').mkdir()
      (here / 'missing').unlink()

  with pytest.raises(FileNotFoundError):
    fail()
  assert (here / 'w' / 'config.json').exists()


@pytest.mark.parametrize('kind', ['link', 'pipe'])
def test_a_lock_that_is_no_file_is_refused(here, kind):
  (here / 'w').mkdir()
  if kind == 'link':
    (here / 'w' / 'lock').symlink_to(here / 'elsewhere')
  else:
    os.mkfifo(here / 'w' / 'lock')
  with (
    pytest.raises(ValueError, match='cannot be written to'),
    work_folder.hold('w', {}, resume=False),
  ):
    pass
  assert not (here / 'elsewhere').exists()


@pytest.mark.slow
def test_an_empty_cache_variable_is_not_the_current_folder(
  here, toy, monkeypatch, capsys
):
  home = here.parent / 'home'
  monkeypatch.setenv('HOME', str(home))
  monkeypatch.setenv('KDJAX_CACHE', '')
  assert pathlib.Path.home() == home
  flags = [*commands.SMALL, toy, '--epochs=1', '--workdir=w']
  assert cifar.COMMAND.main(flags) == 0
  assert os.listdir(here) == ['w']
  assert (home / '.cache' / 'kdjax' / 'teachers').is_dir()
  monkeypatch.setenv('KDJAX_CACHE', 'foo://bar')
  assert cifar.COMMAND.main([*flags, '--resume']) == 2
  assert 'error: KDJAX_CACHE: foo://bar' in capsys.readouterr().err


def test_a_report_of_the_user_is_found_before_training(here, toy, capsys):
  (here / 'w' / 'report').mkdir(parents=True)
  (here / 'w' / 'report' / 'report.html').write_text('mine')
  assert cifar.COMMAND.main([*commands.SMALL, toy, '--workdir=w']) == 2
  assert 'report.html of something else' in capsys.readouterr().err
  assert (here / 'w' / 'report' / 'report.html').read_text() == 'mine'
  assert not (here / 'w' / 'runs').exists()


@pytest.mark.slow
def test_home_in_every_path_of_a_command(here, toy, monkeypatch):
  home = here.parent / 'home'
  monkeypatch.setenv('HOME', str(home))
  (home / 'data').mkdir(parents=True)
  pathlib.Path(toy.partition('npz:')[2]).rename(home / 'data' / 'toy.npz')
  flags = [*commands.SMALL, '--dataset=npz:~/data/toy.npz', '--epochs=1']
  assert cifar.COMMAND.main([*flags, '--method=none', '--workdir=~/w']) == 0
  assert (home / 'w' / 'runs' / 'student' / 'seed0').is_dir()
  assert not os.listdir(here)


def test_a_wrong_start_of_the_student_costs_no_teacher(here, toy, capsys):
  (here / 'x.npz').write_bytes(b'PK')
  flags = [*commands.SMALL, toy, '--student_init=x.npz', '--workdir=w']
  assert cifar.COMMAND.main(flags) == 2
  said = capsys.readouterr().err
  assert 'x.npz cannot be read' in said
  assert 'teacher (convnet_8_16), seed 0: starts' not in said


def test_a_work_folder_that_no_array_can_be_stored_in(here, toy, capsys):
  name = os.fsdecode(b'f\xfcr')
  assert cifar.COMMAND.main([*commands.SMALL, toy, f'--workdir={name}/w']) == 2
  assert 'is not UTF-8' in capsys.readouterr().err
  assert not os.listdir(here)


def test_no_digits_command_writes_into_the_current_folder(here):
  assert digits.COMMAND.main(['--method=kd', '--workdir=']) == 2
  assert not os.listdir(here)
