"""The golden runner: what it counts, what it calls unknown, how it ends."""

import pathlib

import numpy as np
import pytest

from tests.golden import runner
from tests.golden.comparison import compare

VALUES = pathlib.Path(__file__).parent / 'values'


def _run(folder):
  lines = []
  status = runner.run(folder, lines.append)
  return status, lines


@pytest.mark.parametrize('kind', ['kd', 'train_step'])
def test_the_committed_values_are_met(kind):
  status, lines = _run(VALUES / kind)
  assert status == 0, lines
  assert lines[-1].startswith('golden: 1 files,')
  assert lines[-1].endswith(' 0 failed, 0 unknown')


def test_a_wrong_number_fails_and_is_named(tmp_path):
  stored = dict(np.load(VALUES / 'kd' / 'kd_seed0.npz'))
  stored['loss'] = stored['loss'] * np.float32(1.001)
  np.savez(tmp_path / 'kd_seed5.npz', **stored)
  status, lines = _run(tmp_path)
  assert status == 1
  named = [line for line in lines if line.strip().startswith('loss: ')]
  assert len(named) == 1
  assert '> 1e-05' in named[0]
  assert lines[-1] == 'golden: 1 files, 2 arrays, 1 failed, 0 unknown'


def test_what_nobody_knows_is_listed_and_alone_is_a_failure(tmp_path):
  np.savez(tmp_path / 'mystery_seed0.npz', a=np.zeros(3))
  (tmp_path / 'boxes.json').write_text('{}')
  status, lines = _run(tmp_path)
  assert status == 1
  assert any('unknown mystery_seed0.npz' in line for line in lines)
  assert any('unknown boxes.json' in line for line in lines)
  assert lines[-1] == 'golden: 0 files, 0 arrays, 0 failed, 2 unknown'


def test_a_torn_file_is_a_failed_case(tmp_path):
  whole = (VALUES / 'kd' / 'kd_seed0.npz').read_bytes()
  (tmp_path / 'kd_seed0.npz').write_bytes(whole[: len(whole) // 2])
  status, lines = _run(tmp_path)
  assert status == 1
  assert 'FAIL kd_seed0.npz' in lines[0]


def test_a_kind_is_found_in_a_folder_of_any_name(tmp_path):
  folder = tmp_path / 'hidden'
  folder.mkdir()
  for kind in ('kd', 'train_step'):
    source = VALUES / kind / f'{kind}_seed0.npz'
    (folder / f'{kind}_seed0.npz').write_bytes(source.read_bytes())
  (folder / 'case.npz').write_bytes(
    (VALUES / 'train_step' / 'train_step_seed0.npz').read_bytes()
  )
  assert runner.kind_of(folder / 'kd_seed0.npz') == 'kd'
  assert runner.kind_of(folder / 'train_step_seed0.npz') == 'train_step'
  assert runner.kind_of(folder / 'case.npz') == 'train_step'


def test_errors_are_relative_to_the_largest_value():
  result = compare('x', [1.0, 10.0], [1.001, 10.0], 1e-3)
  np.testing.assert_allclose(result.error, 1e-4, rtol=1e-9)
  assert result.passed


@pytest.mark.parametrize('got', [[1.0], [1.0, np.nan], [1.0, 2.0, 3.0]])
def test_other_shapes_and_nan_never_pass(got):
  assert not compare('x', got, [1.0, 2.0], 1e9).passed


def test_nan_where_nan_is_stored_passes():
  assert compare('x', [np.nan, 2.0], [np.nan, 2.0], 0.0).passed
