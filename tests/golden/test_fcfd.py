"""FCFD against the numbers of its own code: terms, steps, a trajectory."""

import pathlib

import numpy as np
import pytest

from tests.golden.kinds import fcfd
from tests.shared import SHARED, needs_shared

pytestmark = pytest.mark.usefixtures('hasty_compiler')

_COPIES = pathlib.Path(__file__).parent / 'values/fcfd'
# The others have whole copies here.
_WHOLE = sorted((SHARED / 'golden/fcfd').glob('[!t]*_seed[0-9].npz'))


def _param(path):
  """A whole file; one of them is enough where a part of another is tested."""
  whole = path.stem == 'resnet20_resnet8_seed0'
  return pytest.param(
    path, id=path.stem, marks=[] if whole else [pytest.mark.long]
  )


def _passes(path, at_least):
  results = fcfd.check(path)
  assert len(results) >= at_least
  assert [r for r in results if not r.passed] == []


@pytest.mark.slow
def test_terms_bridges_and_schedules():
  _passes(_COPIES / 'loss_terms_seed100.npz', 100)


@pytest.mark.slow
def test_trajectory():
  _passes(_COPIES / 'traj_resnet14_resnet8_seed3.npz', 70)


@pytest.mark.slow
@pytest.mark.long
def test_part_of_a_file_of_five_stages():
  _passes(_COPIES / 'vgg_mobilenetv2_seed2.npz', 90)


@needs_shared
@pytest.mark.slow
@pytest.mark.parametrize('path', [_param(path) for path in _WHOLE])
def test_shared(path):
  _passes(path, 400)


def test_wrong_and_unknown_results_fail(tmp_path):
  stored = np.load(_COPIES / 'loss_terms_seed100.npz')
  case = {key: stored[key] for key in stored.files if key.startswith('roi0/')}
  path = tmp_path / 'case.npz'
  np.savez(path, **case)
  assert all(result.passed for result in fcfd.check(path))
  case['roi0/float64/kd'] = case['roi0/float64/kd'] * (1 + 1e-6)
  case['roi0/float64/masked'] = np.ones(())
  np.savez(path, **case)
  failed = [result.name for result in fcfd.check(path) if not result.passed]
  assert failed == [
    'roi0/float64/kd',
    'roi0/float64/masked: nobody compares it',
  ]
