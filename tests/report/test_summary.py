import math

import pytest

from kdjax.report import read_study
from kdjax.report.summary import estimate, summarize
from tests.report.synthetic import ARMS, Arm, write_lines, write_study


def _rows(folder, arms=ARMS):
  study = read_study(write_study(folder, arms, features=False))
  return {row.arm: row for row in summarize(study)}


def test_mean_and_standard_error_worked_by_hand():
  # deviations -1, 1, 0: s.d. 1, divided by sqrt 3
  got = estimate([1.0, 3.0, 2.0])
  assert got is not None
  assert got.mean == pytest.approx(2.0)
  assert got.standard_error == pytest.approx(1 / math.sqrt(3))
  assert got.count == 3


def test_one_seed_has_no_standard_error_and_no_seed_no_estimate():
  got = estimate([0.5])
  assert got is not None
  assert got.standard_error is None
  assert estimate([]) is None


def test_differences_are_paired_by_seed(tmp_path):
  # kd2m - student: 0.03, 0.04, 0.05; unpaired, the error would be 0.0115.
  row = _rows(tmp_path)['kd2m']
  assert row.difference is not None
  assert row.difference.mean == pytest.approx(0.04)
  error = math.sqrt(2 * 0.01**2 / (3 * 2))
  assert row.difference.standard_error == pytest.approx(error)
  assert row.gap_closed == pytest.approx(0.04 / 0.13)


def test_only_distilled_arms_have_a_difference(tmp_path):
  rows = _rows(tmp_path)
  assert rows['teacher'].difference is None
  assert rows['student'].difference is None
  assert rows['student'].gap_closed is None


def test_seeds_that_only_one_arm_finished_are_not_paired(tmp_path):
  arms = {**ARMS, 'kd': Arm(accuracies=(0.90, 0.95, 0.95, 0.1))}
  study = write_study(tmp_path, arms, features=False)
  write_lines(study / 'runs' / 'student' / 'seed1', [])
  rows = {row.arm: row for row in summarize(read_study(study))}
  assert rows['kd'].accuracy.count == 4
  assert rows['kd'].difference.count == 2
  assert rows['kd'].difference.mean == pytest.approx((0.06 + 0.10) / 2)
  assert rows['student'].accuracy.count == 2
  assert rows['student'].unfinished == 1


@pytest.mark.parametrize(
  'arms',
  [
    {k: v for k, v in ARMS.items() if k != 'teacher'},
    {**ARMS, 'teacher': Arm(accuracies=(0.7,))},
  ],
  ids=['no teacher', 'a teacher no better'],
)
def test_no_gap_closed_without_a_positive_gap(tmp_path, arms):
  assert _rows(tmp_path, arms)['kd'].gap_closed is None


def test_no_difference_without_the_student_alone(tmp_path):
  arms = {k: v for k, v in ARMS.items() if k != 'student'}
  row = _rows(tmp_path, arms)['kd']
  assert row.difference is None
  assert row.gap_closed is None


def test_rows_have_parameters_flops_and_seconds(tmp_path):
  row = _rows(tmp_path)['kd']
  assert row.parameters == 78042
  assert row.forward_flops == 2.55e7
  assert row.seconds is not None
  assert row.seconds.mean == 12.5
  assert row.network == 'convnet_4_8'
