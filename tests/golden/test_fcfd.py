"""FCFD against golden values of the authors' code."""

import pathlib

import numpy as np
import pytest

from tests.golden.kinds import fcfd
from tests.shared import SHARED, needs_shared

pytestmark = pytest.mark.usefixtures('hasty_compiler')

_COPIES = pathlib.Path(__file__).parent / 'values/fcfd'
# All files but the loss terms and the trajectory, which are in `_COPIES`.
_WHOLE = sorted((SHARED / 'golden/fcfd').glob('[!t]*_seed[0-9].npz'))


def _param(path):
  """Returns a parameter for one file; only one file is not marked long."""
  whole = path.stem == 'resnet20_resnet8_seed0'
  return pytest.param(
    path, id=path.stem, marks=[] if whole else [pytest.mark.long]
  )


def _check(path, at_least):
  results = fcfd.check(path)
  assert len(results) >= at_least
  assert [r for r in results if not r.passed] == []


@pytest.mark.slow
def test_loss_terms_bridges_and_schedules_match():
  _check(_COPIES / 'loss_terms_seed100.npz', 100)


@pytest.mark.slow
def test_training_trajectory_matches():
  _check(_COPIES / 'traj_resnet14_resnet8_seed3.npz', 70)


@pytest.mark.slow
@pytest.mark.long
def test_networks_of_five_stages_match():
  _check(_COPIES / 'vgg_mobilenetv2_seed2.npz', 90)


@needs_shared
@pytest.mark.slow
@pytest.mark.parametrize('path', [_param(path) for path in _WHOLE])
def test_shared_files_match(path):
  _check(path, 400)


def test_wrong_and_unknown_arrays_fail(tmp_path):
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
    'roi0/float64/masked: not compared',
  ]
