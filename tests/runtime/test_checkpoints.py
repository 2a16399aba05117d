"""Saved checkpoints are restored, and unreadable ones are skipped."""

import errno
import json

import chex
import jax
import numpy as np
import pytest

from kdjax.runtime import array_hashes, checkpoints, orbax_trees


def _state(step: int):
  return {
    'weights': np.full((3, 2), step, np.float32),
    'key': jax.random.key(step),
  }


@pytest.fixture
def folder(tmp_path):
  """Checkpoints of steps 1 to 3, the best one at step 3."""
  saving = checkpoints.Checkpoints(tmp_path)
  for step in (1, 2, 3):
    saving.save(step, _state(step))
    saving.wait()
  saving.save_best(3, _state(3))
  saving.close()
  return tmp_path


def _restore(folder, like=None):
  warnings = []
  reading = checkpoints.Checkpoints(folder)
  try:
    like = checkpoints.on_host(_state(0)) if like is None else like
    tree = reading.restore_latest(like, warnings.append)
  finally:
    reading.close()
  return tree, warnings


def test_latest_of_two_checkpoints_is_restored_with_its_key(folder):
  assert {path.name for path in (folder / 'latest').iterdir()} == {'2', '3'}
  tree, warnings = _restore(folder)
  assert not warnings
  chex.assert_trees_all_equal(checkpoints.with_keys(tree, _state(0)), _state(3))
  assert (folder / 'best' / '3').is_dir()


def test_torn_checkpoint_is_renamed_and_the_previous_one_restored(folder):
  manifest = folder / 'latest' / '3' / 'default' / 'manifest.ocdbt'
  manifest.write_bytes(manifest.read_bytes()[:5])
  tree, (warning,) = _restore(folder)
  np.testing.assert_array_equal(tree['weights'], _state(2)['weights'])
  assert 'of step 3 cannot be read' in warning
  assert 'the previous checkpoint is used' in warning
  assert (folder / 'latest' / '3.broken').is_dir()
  assert not (folder / 'best' / '3').exists()


def test_existing_broken_folder_does_not_block_another_rename(folder):
  (folder / 'latest' / '3.broken').mkdir()
  (folder / 'latest' / '3' / 'default' / 'manifest.ocdbt').write_bytes(b'')
  tree, (warning,) = _restore(folder)
  np.testing.assert_array_equal(tree['weights'], _state(2)['weights'])
  assert 'it is kept as' in warning
  assert '3.broken2' in warning
  assert (folder / 'latest' / '3.broken2').is_dir()


def test_checkpoint_with_changed_arrays_is_not_restored(folder):
  path = folder / 'latest' / '3' / '_CHECKPOINT_METADATA'
  saved = json.loads(path.read_text())
  other = array_hashes.metadata(checkpoints.on_host(_state(2)))
  path.write_text(json.dumps({**saved, 'custom_metadata': other}))
  tree, (warning,) = _restore(folder)
  np.testing.assert_array_equal(tree['weights'], _state(2)['weights'])
  assert 'key is damaged: it is not the array that was saved' in warning


def test_tree_mismatch_lists_the_differences(folder):
  like = {'weights': np.zeros((3, 4), np.float32), 'more': np.zeros(1)}
  with pytest.raises(ValueError, match='of another network or method') as error:
    _restore(folder, like)
  assert str(error.value).splitlines()[1:] == [
    '  missing     more (1,)',
    '  unexpected  key (2,)',
    '  shape       weights: stored (3, 2), expected (3, 4)',
  ]


def test_empty_folder_restores_nothing(tmp_path):
  assert _restore(tmp_path) == (None, [])


def test_variables_round_trip_and_mismatches_are_rejected(tmp_path):
  variables = {'params': {'kernel': np.ones((2, 2), np.float32)}}
  checkpoints.save_variables(tmp_path / 'student', variables)
  like = jax.eval_shape(lambda: variables)
  loaded = checkpoints.load_variables(tmp_path / 'student', like)
  chex.assert_trees_all_equal(loaded, variables)
  other = {'params': {'kernel': np.ones((2, 3), np.float32)}}
  with pytest.raises(ValueError, match='holds the weights of another network'):
    checkpoints.load_variables(tmp_path / 'student', other)
  with pytest.raises(ValueError, match='cannot be read as an orbax checkpoint'):
    checkpoints.load_variables(tmp_path, like)


def test_full_disk_raises_an_error_and_leaves_no_file(tmp_path, monkeypatch):
  def full(*_):
    raise OSError(errno.ENOSPC, 'No space left on device')

  monkeypatch.setattr(orbax_trees.os, 'posix_fallocate', full, raising=False)
  with pytest.raises(OSError, match='No space left') as error:
    checkpoints.save_variables(tmp_path / 'student', {'x': np.ones(3)})
  assert error.value.filename == str(tmp_path)
  assert not list(tmp_path.iterdir())
