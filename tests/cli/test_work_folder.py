import json
import os
import pathlib
import shutil
import tempfile

import pytest

from kdjax.cli import work_folder
from tests.experiments import commands

_ABOUT = {'command': 'c', 'config': {'seeds': [0, 1], 'decay_at': [0.5]}}


def _hold(folder, **changes):
  about = {**_ABOUT, 'config': {**_ABOUT['config'], **changes}}
  with work_folder.hold(folder, about, resume=True):
    (folder / 'config.json').write_text(json.dumps(about))


@pytest.fixture
def folder(tmp_path):
  _hold(tmp_path)
  return tmp_path


def test_seeds_may_be_added_to_a_work_folder(folder):
  _hold(folder, seeds=[0, 1, 2])
  _hold(folder, seeds=[2, 1, 0, 5])


@pytest.mark.parametrize(
  'change', [{'seeds': [0, 2]}, {'seeds': [0]}, {'decay_at': [0.5, 0.75]}]
)
def test_other_changes_are_another_configuration(folder, change):
  ((name, value),) = change.items()
  with pytest.raises(ValueError, match=f'{name}: was .*, now') as error:
    _hold(folder, **change)
  assert str(value) in str(error.value)


def test_file_in_the_path_of_the_work_folder_gives_an_error(
  fails, toy, tmp_path
):
  (tmp_path / 'file').write_text('')
  status, said = fails(toy, f'--workdir={tmp_path}/file/w')
  assert status == 2
  assert f'--workdir={tmp_path}/file/w cannot be written to: Not a' in said


@pytest.fixture
def locked():
  """A folder that this process may read but not write."""
  folder = pathlib.Path(tempfile.mkdtemp())  # pytest's are for their owner
  folder.chmod(0o555)
  if os.geteuid():
    yield folder
  else:  # the superuser may write anywhere
    os.seteuid(65534)
    yield folder
    os.seteuid(0)
  shutil.rmtree(folder)


def test_missing_write_permission_is_detected_before_loading(fails, locked):
  status, said = fails(f'--workdir={locked}')
  assert status == 2
  assert f'--workdir={locked} cannot be written to: Permission denied' in said
  status, said = fails(f'--workdir={locked}/w')
  assert status == 2
  assert f'--workdir={locked}/w cannot be written to: Permission' in said


def test_folder_used_by_another_command_is_rejected(fails, toy, tmp_path):
  with work_folder.hold(tmp_path / 'w', {}, resume=False):
    status, said = fails(toy, f'--workdir={tmp_path}/w')
  assert status == 2
  assert f'Another command is using {tmp_path}/w' in said


def test_commands_started_in_one_second_have_different_folders(
  tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  made = [work_folder.new_folder('experiments.cifar', 'kd') for _ in range(4)]
  assert len(set(made)) == 4
  assert all(folder.is_dir() for folder in made)


def test_file_in_the_path_of_the_runs_gives_an_error(fails, toy, tmp_path):
  (tmp_path / 'w').mkdir()
  (tmp_path / 'w' / 'runs').write_text('')
  status, said = fails(toy, *commands.SMALL, f'--workdir={tmp_path}/w')
  assert status == 1
  assert str(tmp_path / 'w' / 'runs') in said
  assert (tmp_path / 'w' / 'runs').read_text() == ''
