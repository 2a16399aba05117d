"""The golden runner: its counts, unknown files and exit status."""

import pathlib

import numpy as np
import pytest

from tests.golden import runner
from tests.golden.comparison import compare, not_compared

VALUES = pathlib.Path(__file__).parent / 'values'


def _run(folder):
  lines = []
  status = runner.run(folder, lines.append)
  return status, lines


@pytest.mark.parametrize(
  'kind', ['kd', pytest.param('train_step', marks=pytest.mark.slow)]
)
def test_committed_values_match(kind):
  status, lines = _run(VALUES / kind)
  assert status == 0, lines
  assert lines[-1].startswith('golden: 1 files,')
  assert lines[-1].endswith(' 0 failed, 0 unknown')


def test_wrong_value_fails_and_is_named(tmp_path):
  stored = dict(np.load(VALUES / 'kd' / 'kd_seed0.npz'))
  stored['loss'] = stored['loss'] * np.float32(1.001)
  np.savez(tmp_path / 'kd_seed5.npz', **stored)
  status, lines = _run(tmp_path)
  assert status == 1
  named = [line for line in lines if line.strip().startswith('loss: ')]
  assert len(named) == 1
  assert '> 1e-05' in named[0]
  assert lines[-1] == 'golden: 1 files, 2 arrays, 1 failed, 0 unknown'


@pytest.mark.parametrize(
  ('source', 'changes', 'why'),
  [
    ('kd', {'grad_logits_s': None}, 'the file has no grad_logits_s'),
    ('kd', {'T': None}, 'the file has no T'),
    ('kd', {'loss_2': np.ones(1)}, 'loss_2: not compared'),
    ('kd', {'loss': np.float32(np.nan)}, 'loss: inf > 1e-05'),
    ('kd', {'logits_t': np.ones((4, 5))}, 'ValueError: soft_target_kl needs'),
    ('kd', {'T': np.array('four')}, 'ValueError: could not convert'),
    ('train_step', {'schedule.lr': None}, 'the file has no schedule.lr'),
    ('networks', {'weights_seed': None}, 'the file has no weights_seed'),
  ],
)
def test_file_with_wrong_arrays_fails_with_a_message(
  tmp_path, source, changes, why
):
  (path, *_) = sorted(
    (VALUES / source).glob('*_seed0.npz'), key=lambda path: path.stat().st_size
  )
  stored = {**np.load(path), **changes}
  contents = {key: value for key, value in stored.items() if value is not None}
  (tmp_path / source).mkdir()
  np.savez(tmp_path / source / path.name, **contents)
  status, lines = _run(tmp_path)
  assert status == 1
  assert lines[0].startswith(f'FAIL {source}/{path.name}: ')
  assert any(line.startswith('     ') and why in line for line in lines)
  assert lines[-1].startswith('golden: 1 files, ')
  assert lines[-1].endswith(' 1 failed, 0 unknown')


def test_array_that_is_not_compared_fails():
  stored = {name: np.ones(1) for name in ('x', 'w/a', 'loss', 'grad', 'new')}
  results = [compare('loss', [1.0], stored['loss'], 0.0)]
  results.append(compare('grad', np.ones(2), stored['grad'], 0.0))
  (failure,) = not_compared(stored, results, ('x', 'w/'))
  assert failure.name == 'new: not compared'
  assert not failure.passed


def test_failures_beyond_ten_are_counted(tmp_path, monkeypatch):
  failed = [compare(f'a{i}', [0.0], [1.0], 0.0) for i in range(50)]
  monkeypatch.setitem(runner.KINDS, 'kd', lambda path: failed)
  np.savez(tmp_path / 'kd_seed0.npz', a=np.zeros(1))
  _, lines = _run(tmp_path)
  assert len(lines) == 13
  assert lines[-2].strip() == 'and 40 more'


@pytest.mark.parametrize('error', [AssertionError(), KeyError('a\nb')])
def test_exception_of_a_check_is_reported_as_failure(
  tmp_path, monkeypatch, error
):
  def breaks(path):
    raise error

  monkeypatch.setitem(runner.KINDS, 'kd', breaks)
  np.savez(tmp_path / 'kd_seed0.npz', a=np.zeros(1))
  status, lines = _run(tmp_path)
  assert status == 1
  assert f'({type(error).__name__}' in lines[0]


def test_unknown_files_are_listed_and_alone_are_a_failure(tmp_path):
  np.savez(tmp_path / 'mystery_seed0.npz', a=np.zeros(3))
  (tmp_path / 'boxes.json').write_text('{}')
  status, lines = _run(tmp_path)
  assert status == 1
  assert any('unknown mystery_seed0.npz' in line for line in lines)
  assert any('unknown boxes.json' in line for line in lines)
  assert lines[-1] == 'golden: 0 files, 0 arrays, 0 failed, 2 unknown'


def test_an_unknown_file_beside_others_is_a_failure(tmp_path):
  source = VALUES / 'kd' / 'kd_seed0.npz'
  (tmp_path / 'kd_seed0.npz').write_bytes(source.read_bytes())
  assert _run(tmp_path)[0] == 0
  np.savez(tmp_path / 'mystery_seed0.npz', a=np.zeros(3))
  status, lines = _run(tmp_path)
  assert status == 1
  assert lines[-1] == 'golden: 1 files, 2 arrays, 0 failed, 1 unknown'


def test_truncated_file_is_a_failure(tmp_path):
  whole = (VALUES / 'kd' / 'kd_seed0.npz').read_bytes()
  (tmp_path / 'kd_seed0.npz').write_bytes(whole[: len(whole) // 2])
  status, lines = _run(tmp_path)
  assert status == 1
  assert 'FAIL kd_seed0.npz' in lines[0]


def test_kind_is_detected_in_any_folder(tmp_path):
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
def test_wrong_shapes_and_nan_never_pass(got):
  assert not compare('x', got, [1.0, 2.0], 1e9).passed


def test_nan_matches_stored_nan():
  assert compare('x', [np.nan, 2.0], [np.nan, 2.0], 0.0).passed
