import numpy as np
import pytest

from kdjax.report import bound, read_study
from tests.report.synthetic import (
  ARMS,
  Arm,
  inequality,
  write_lines,
  write_study,
)


def _figure(folder, arms=ARMS):
  return bound.bound(read_study(write_study(folder, arms, features=False)))


def test_draws_means_over_seeds_from_before_training(tmp_path):
  figure = _figure(tmp_path)
  assert figure is not None
  (axes,) = figure.axes
  assert axes.get_title(loc='left') == 'kd2m'
  assert axes.get_yscale() == 'log'
  paired, w2, gap = axes.lines
  for line, name in ((paired, 'paired'), (w2, 'w2'), (gap, 'risk_gap')):
    np.testing.assert_array_equal(line.get_xdata(), range(21))
    want = np.mean([inequality(0, seed)[name] for seed in range(3)])
    np.testing.assert_allclose(line.get_ydata()[0], want)
  assert np.all(paired.get_ydata() >= w2.get_ydata())
  assert np.all(w2.get_ydata() >= gap.get_ydata())
  assert len({line.get_linestyle() for line in axes.lines}) == 3
  assert 'bounds no accuracy' in str(figure.get_label())


def test_each_arm_with_lines_has_a_panel_on_a_shared_scale(tmp_path):
  arms = {
    **ARMS,
    **{f'w{i}': Arm(accuracies=(0.9,), bound=True) for i in range(4)},
  }
  figure = _figure(tmp_path, arms)
  assert figure is not None
  titles = [axes.get_title(loc='left') for axes in figure.axes]
  assert titles == ['kd2m', 'w0', 'w1', 'w2', 'w3']
  assert len({axes.get_ylim() for axes in figure.axes}) == 1
  assert len({axes.lines[0].get_color() for axes in figure.axes}) == 5


def test_draws_distances_only_if_risks_are_missing(tmp_path):
  lines = [
    {'kind': 'bound', 'epoch': e, 'step': e, 'w2': 2.0 - e, 'paired': 3.0}
    for e in range(2)
  ]
  write_lines(tmp_path / 'runs' / 'kd2m' / 'seed0', lines)
  figure = bound.bound(read_study(tmp_path))
  assert figure is not None
  (axes,) = figure.axes
  assert len(axes.lines) == 2
  assert 'accuracy' not in str(figure.get_label())


def test_a_gap_of_zero_is_skipped_on_the_log_axis(tmp_path):
  lines = [
    {
      **{'kind': 'bound', 'epoch': epoch, 'step': epoch},
      **{'w2': 1.0, 'paired': 2.0, 'risk_gap': gap},
    }
    for epoch, gap in enumerate([0.1, 0.0, 0.2])
  ]
  write_lines(tmp_path / 'runs' / 'kd2m' / 'seed0', lines)
  figure = bound.bound(read_study(tmp_path))
  assert figure is not None
  (axes,) = figure.axes
  assert axes.get_yscale() == 'log'
  np.testing.assert_array_equal(axes.lines[2].get_xdata(), [0, 2])
  np.testing.assert_array_equal(axes.lines[1].get_xdata(), [0, 1, 2])


@pytest.mark.parametrize(
  'lines',
  [[], [{'kind': 'bound', 'epoch': 0, 'step': 0, 'gap': 1.0}]],
  ids=['nothing', 'other entries'],
)
def test_no_figure_without_lines(tmp_path, lines):
  write_lines(tmp_path / 'runs' / 'kd2m' / 'seed0', lines)
  assert bound.bound(read_study(tmp_path)) is None
