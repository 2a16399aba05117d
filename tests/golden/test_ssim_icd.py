"""SSIM and ICD against golden values, in float64 and in float32.

`values/ssim` holds some of the cases of each file; its pyramid lacks the
largest levels and their losses.
"""

import contextlib
import pathlib

import jax
import pytest

from tests.golden import runner

_VALUES = pathlib.Path(__file__).parent / 'values'
_COPIES = [*_VALUES.glob('ssim/*.npz'), *_VALUES.glob('icd/*.npz')]

_PRECISIONS = {
  'float32': contextlib.nullcontext,
  'float64': lambda: jax.enable_x64(True),
}


def _check(path, precision):
  kind = runner.kind_of(path)
  assert kind is not None
  with _PRECISIONS[precision]():
    results = runner.KINDS[kind](path)
  assert len(results) > 4
  assert [r for r in results if not r.passed] == []


@pytest.mark.slow
@pytest.mark.parametrize('precision', _PRECISIONS)
@pytest.mark.parametrize('path', sorted(_COPIES), ids=lambda path: path.stem)
def test_committed_values_match(path, precision):
  _check(path, precision)


@pytest.mark.parametrize('path', sorted(_COPIES), ids=lambda path: path.stem)
def test_kind_is_detected_from_the_contents(path, tmp_path):
  copy = tmp_path / 'case.npz'
  copy.write_bytes(path.read_bytes())
  assert runner.kind_of(copy) == path.stem.split('_seed')[0]
