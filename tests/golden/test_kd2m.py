"""KD²M's distances against golden values, in float64 and in float32."""

import contextlib
import pathlib

import jax
import numpy as np
import pytest

from tests.golden.kinds import kd2m
from tests.shared import SHARED, needs_shared

pytestmark = pytest.mark.usefixtures('hasty_compiler')

_COPIES = sorted((pathlib.Path(__file__).parent / 'values/kd2m').glob('*.npz'))
_ALL = sorted((SHARED / 'golden/kd2m').glob('*.npz'))

_PRECISIONS = {
  'float32': contextlib.nullcontext,
  'float64': lambda: jax.enable_x64(True),
}


def _check(path, precision='float64'):
  with _PRECISIONS[precision]():
    results = kd2m.check(path)
  assert len(results) > 50
  assert [r for r in results if not r.passed] == []


@pytest.mark.slow
@pytest.mark.parametrize('precision', _PRECISIONS)
@pytest.mark.parametrize('path', _COPIES, ids=lambda path: path.stem)
def test_committed_values_match(path, precision):
  if precision == 'float64' and _ALL:
    pytest.skip('the complete shared files are tested instead')
  _check(path, precision)


@needs_shared
@pytest.mark.slow
@pytest.mark.parametrize('path', _ALL, ids=lambda path: path.stem)
def test_shared_files_match(path):
  _check(path)


@needs_shared
@pytest.mark.slow
def test_shared_file_of_realistic_width_matches_in_float32():
  _check(SHARED / 'golden/kd2m/s_large_relu.npz', 'float32')


def _reduced(tmp_path, **changes):
  """Writes a file with few keys, so that little is compiled."""
  stored = np.load(_COPIES[-1].with_name('s_small.npz'))
  keys = ['in/xs', 'in/xt', 'mmd/linear/value', 'w2/empirical/perm']
  contents = {key: stored[key] for key in keys} | changes
  path = tmp_path / 'case.npz'
  np.savez(path, **contents)
  return path, contents


def test_every_key_is_compared(tmp_path):
  path, _ = _reduced(tmp_path)
  results = kd2m.check(path)
  assert [r.name for r in results] == ['mmd/linear/value', 'w2/empirical/perm']
  assert all(r.passed for r in results)


def test_wrong_and_unknown_arrays_fail(tmp_path):
  path, contents = _reduced(tmp_path)
  contents['mmd/linear/value'] = contents['mmd/linear/value'] + 1e-3
  contents['w2/empirical/perm'] = np.roll(contents['w2/empirical/perm'], 1)
  contents['mmd/cubic/value'] = np.ones(())
  np.savez(path, **contents)
  assert not any(r.passed for r in kd2m.check(path))
