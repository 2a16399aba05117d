"""SSIM and ICD against the stored numbers, in float64 and in float32.

`values/ssim` holds some of the cases of each file; its pyramid has lost its
largest levels, and their losses in the sum.
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


def _passes(path, precision):
  kind = runner.kind_of(path)
  assert kind is not None
  with _PRECISIONS[precision]():
    results = runner.KINDS[kind](path)
  assert len(results) > 4
  assert [r for r in results if not r.passed] == []


@pytest.mark.slow
@pytest.mark.parametrize('precision', _PRECISIONS)
@pytest.mark.parametrize('path', sorted(_COPIES), ids=lambda path: path.stem)
def test_copy(path, precision):
  _passes(path, precision)


@pytest.mark.parametrize('path', sorted(_COPIES), ids=lambda path: path.stem)
def test_a_kind_is_found_by_what_a_file_contains(path, tmp_path):
  copy = tmp_path / 'case.npz'
  copy.write_bytes(path.read_bytes())
  assert runner.kind_of(copy) == path.stem.split('_seed')[0]
