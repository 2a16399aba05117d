"""A checkpoint folder that can no longer be written to is said at once."""

import os
import pathlib
import shutil
import tempfile
import time

import numpy as np
import pytest

from kdjax.runtime.checkpoints import Checkpoints
from kdjax.runtime.temporary import new_file


@pytest.fixture
def folder():
  """A folder of a user who is not the superuser, who may write anywhere."""
  path = pathlib.Path(tempfile.mkdtemp())
  if os.geteuid():
    yield path
  else:
    os.chown(path, 65534, 65534)
    os.seteuid(65534)
    yield path
    os.seteuid(0)
  for inner in (path, *path.rglob('*')):
    if inner.is_dir():
      inner.chmod(0o700)
  shutil.rmtree(path)


@pytest.mark.parametrize(
  ('name', 'save'), [('latest', 'save'), ('best', 'save_best')]
)
def test_a_folder_that_becomes_read_only(folder, name, save):
  tree = {'x': np.ones(3, np.float32)}
  checkpoints = Checkpoints(folder)
  getattr(checkpoints, save)(1, tree)
  checkpoints.wait()
  (folder / name).chmod(0o555)
  began = time.monotonic()
  with pytest.raises(PermissionError, match=str(folder / name)):
    getattr(checkpoints, save)(2, tree)
  assert time.monotonic() - began < 5
  (folder / name).chmod(0o755)
  getattr(checkpoints, save)(2, tree)
  checkpoints.close()
  assert [
    path for path in (folder / name).iterdir() if 'tmp' in path.name
  ] == []


def test_a_file_that_a_killed_process_left_is_no_checkpoint(tmp_path):
  tree = {'x': np.ones(3, np.float32)}
  for _ in range(2):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, tree)
    checkpoints.close()
    new_file(tmp_path / 'latest')
    new_file(tmp_path / 'best')
  checkpoints, said = Checkpoints(tmp_path), []
  restored = checkpoints.restore_latest(tree, said.append)
  checkpoints.close()
  np.testing.assert_array_equal(restored['x'], tree['x'])
  assert not said
