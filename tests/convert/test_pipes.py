"""Weights are read from regular files: a pipe could wait for ever."""

import os

import pytest

from kdjax import convert


@pytest.mark.parametrize('kind', ['pipe', 'device'])
def test_what_is_no_file_is_refused_at_once(tmp_path, kind):
  path = tmp_path / 'weights'
  if kind == 'pipe':
    os.mkfifo(path)
  else:
    path.symlink_to('/dev/zero')
  with pytest.raises(ValueError, match='neither a regular file nor a folder'):
    convert.read(path)
  assert convert.described(path) == {}
