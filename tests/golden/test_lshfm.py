"""LSHFM against golden values, in float64 and in float32."""

import pathlib

import jax
import numpy as np
import pytest

from tests.golden import runner
from tests.golden.comparison import Stored
from tests.golden.kinds import lshfm, lshfm_train
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


def _first_mimic_losses(stored):
  """Returns the four losses that a file may use, computed in NumPy."""
  rows = stored['x'][0] @ stored['feat_fc_weight'].T + stored['feat_fc_bias']
  weight, bias = (stored[name].astype(np.float64) for name in ('W', 'b'))
  hashes, teacher = (
    x @ weight.T + bias for x in (rows, stored['f_t'][0].astype(np.float64))
  )
  bits = (np.logaddexp(0, hashes) - (teacher > 0) * hashes).mean(1)
  squares = ((rows - stored['f_t'][0]) ** 2).mean(1)
  right = np.argmax(stored['logit_t'][0], -1) == stored['label'][0]
  return {
    'lsh': bits.mean(),
    'lsh_s': bits[right].mean(),
    'lshl2': (bits + squares).mean(),
    'lshl2_s': (bits + squares)[right].mean(),
  }


@pytest.mark.parametrize('name', ['lsh', 'lsh_s', 'lshl2', 'lshl2_s'])
def test_loss_is_inferred_from_the_trace(name):
  stored = Stored.read(_VALUES / 'train_01_cifar_lshl2_s.npz')
  values = _first_mimic_losses(stored)
  first = stored['f32_trace'][0, 2]
  np.testing.assert_allclose(values['lshl2_s'], first, rtol=1e-5)
  stored['f32_trace'][0, 2] = values[name]
  assert lshfm_train._Steps(stored, np.float32)._loss() == name


@pytest.mark.parametrize('path', _COPIES, ids=lambda path: path.stem)
def test_kind_is_detected_in_any_folder(path, tmp_path):
  (tmp_path / path.name).write_bytes(path.read_bytes())
  kind = runner.kind_of(tmp_path / path.name)
  assert kind in ('lshfm', 'lshfm_average', 'multilabel_metrics')
