"""Files are written as a whole, under names that nothing else has."""

import os
import pathlib
import stat

import pytest

from kdjax.convert import safetensors_files
from kdjax.runtime import files
from kdjax.runtime.temporary import (
  check_writable,
  delete_temporary_files,
  new_file,
  replacing,
)


def test_a_file_is_replaced_as_a_whole(tmp_path):
  path = tmp_path / 'new' / 'x.json'
  files.write_json(path, {'a': 1})
  files.write_json(path, {'a': 2})
  assert files.read_json(path) == {'a': 2}
  assert os.listdir(path.parent) == ['x.json']


def test_a_failure_leaves_what_there_was(tmp_path):
  path = tmp_path / 'x'
  path.write_text('old')
  with (
    pytest.raises(TypeError, match='data must be str'),
    replacing(path) as temporary,
  ):
    temporary.write_text(5)
  assert path.read_text() == 'old'
  assert os.listdir(tmp_path) == ['x']


@pytest.mark.parametrize('name', ['x.tmp', '.x.tmp', 'x.json.tmp'])
def test_files_of_the_user_beside_it_stay(tmp_path, name):
  target = tmp_path / 'elsewhere'
  target.write_text('mine')
  (tmp_path / name).symlink_to(target)
  files.write_json(tmp_path / 'x', {})
  files.write_json(tmp_path / 'x.json', {})
  safetensors_files.write(tmp_path / 'x', {}, {})
  assert target.read_text() == 'mine'
  assert (tmp_path / name).is_symlink()


def test_a_link_is_replaced_and_not_followed(tmp_path):
  target = tmp_path / 'elsewhere'
  target.write_text('mine')
  (tmp_path / 'x').symlink_to(target)
  files.write_json(tmp_path / 'x', {})
  assert target.read_text() == 'mine'
  assert not (tmp_path / 'x').is_symlink()


@pytest.mark.parametrize('kind', ['pipe', 'folder', 'device', 'link'])
def test_only_regular_files_are_replaced(tmp_path, kind):
  path = tmp_path / 'x'
  if kind == 'pipe':
    os.mkfifo(path)
  elif kind == 'folder':
    path.mkdir()
  elif kind == 'link':
    path.symlink_to('/dev/full')
  else:
    path = pathlib.Path('/dev/full')
  before = os.lstat(path)
  with pytest.raises(OSError, match='is kept'):
    files.write_bytes(path, b'x')
  assert os.lstat(path).st_ino == before.st_ino
  assert os.lstat(path).st_mode == before.st_mode


def test_files_have_the_permissions_of_the_user(tmp_path):
  before = os.umask(0o027)
  try:
    files.write_bytes(tmp_path / 'x', b'')
  finally:
    os.umask(before)
  assert stat.S_IMODE((tmp_path / 'x').stat().st_mode) == 0o640


def test_what_a_killed_process_leaves_is_deleted(tmp_path):
  new_file(tmp_path)
  (tmp_path / 'mine').write_text('')
  delete_temporary_files(tmp_path)
  assert os.listdir(tmp_path) == ['mine']


def test_a_folder_that_can_be_written_to_stays_empty(tmp_path):
  check_writable(tmp_path)
  assert not os.listdir(tmp_path)
  with pytest.raises(FileNotFoundError):
    check_writable(tmp_path / 'missing')


@pytest.mark.parametrize(
  'line', ['{"step": -1}', '{"step": "1"}', '{"epoch": null}', '{"step": 1.5}']
)
def test_a_line_whose_step_is_no_count_is_unreadable(tmp_path, line):
  path = tmp_path / 'metrics.jsonl'
  path.write_text(f'{line}\n{{"step": 2}}\n')
  unreadable = []
  assert files.read_lines(path, unreadable.append) == [{'step': 2}]
  assert unreadable == [1]


def test_lines_without_a_step_do_not_stop_a_run(tmp_path):
  path = tmp_path / 'metrics.jsonl'
  path.write_text('{"kind": "train"}\n{"step": 3}\n')
  files.MetricsWriter(path, 2)
  assert files.read_lines(path) == [{'kind': 'train'}]
