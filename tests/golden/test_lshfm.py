"""LSHFM against golden values, in float64 and in float32."""

import pathlib

import jax
import numpy as np
import pytest

from tests.golden import runner
from tests.golden.kinds import lshfm
from tests.shared import SHARED, needs_shared

pytestmark = pytest.mark.usefixtures('hasty_compiler')

_VALUES = pathlib.Path(__file__).parent / 'values/lshfm'
_COPIES = sorted(_VALUES.glob('*.npz'))
_ALL = sorted((SHARED / 'golden/lshfm').glob('*.npz'))
_QUICK = ('avg', 'bias', 'metrics', 'correct_only_03')


def _marked(paths):
  return [
    pytest.param(
      path,
      id=path.stem,
      marks=[] if path.stem.startswith(_QUICK) else pytest.mark.slow,
    )
    for path in paths
  ]


def _check(path):
  # Checks both precisions: float32 inputs keep their dtype.
  with jax.enable_x64(True):
    results = lshfm.check(path)
  assert len(results) >= 2
  assert [r for r in results if not r.passed] == []


@pytest.mark.parametrize('path', _marked(_COPIES))
def test_committed_values_match(path):
  _check(path)


@needs_shared
@pytest.mark.slow
@pytest.mark.parametrize('path', _ALL, ids=lambda path: path.stem)
def test_shared_files_match(path):
  _check(path)


def test_float32_values_match_without_float64():
  results = lshfm.check(_VALUES / 'bias_02_even_drop.npz')
  assert {r.name[:4] for r in results} == {'f32_'}
  assert all(r.passed for r in results)


def test_wrong_and_unknown_arrays_fail(tmp_path):
  stored = dict(np.load(_VALUES / 'bias_02_even_drop.npz'))
  stored['f32_b_median'] = stored['f32_b_median'] * np.float32(1.001)
  stored['f32_b_mode'] = stored['f32_b_mean']
  np.savez(tmp_path / 'bias_09.npz', **stored)
  failed = [r for r in lshfm.check(tmp_path / 'bias_09.npz') if not r.passed]
  names = ['f32_b_median', 'f32_b_mode: not compared']
  assert [r.name for r in failed] == names


@pytest.mark.parametrize('path', _COPIES, ids=lambda path: path.stem)
def test_kind_is_detected_in_any_folder(path, tmp_path):
  (tmp_path / path.name).write_bytes(path.read_bytes())
  kind = runner.kind_of(tmp_path / path.name)
  assert kind in ('lshfm', 'lshfm_average', 'multilabel_metrics')
