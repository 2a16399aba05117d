"""Tests of the plot of FCFD's anisotropy and gaps."""

import numpy as np
import pytest

from kdjax.report import function, read_study
from tests.report import synthetic


def _lines(scale):
  return [
    line for epoch in (0, 2) for line in synthetic.function_lines(epoch, scale)
  ]


def _study(folder, **arms):
  for arm, scales in arms.items():
    for seed, scale in enumerate(scales):
      run = folder / 'runs' / arm / f'seed{seed}'
      synthetic.write_lines(run, _lines(scale) if scale else [])
  return read_study(folder)


def test_draws_the_last_evaluation_by_stage(tmp_path):
  figure = function.function(_study(tmp_path, plain=(1, 3), fcfd=(0.5,)))
  assert figure is not None
  bars, appearance, gap = figure.axes
  assert bars.get_yscale() == 'log'
  heights = np.array([patch.get_height() for patch in bars.patches])
  np.testing.assert_allclose(heights, np.repeat([1e-4, 1e-2, 10], 3))
  for axes in (appearance, gap):
    fcfd, plain = (container.lines[0] for container in axes.containers)
    np.testing.assert_array_equal(plain.get_xdata(), [1, 2, 3])
    # Epoch 2, the mean of scales 1 and 3.
    np.testing.assert_allclose(plain.get_ydata(), [6, 8, 10])
    np.testing.assert_allclose(fcfd.get_ydata(), [1.5, 2, 2.5])
    assert plain.get_color() != fcfd.get_color()
    assert axes.get_ylim()[0] == 0
  assert 'perturbed by a tenth of their norm' in str(figure.get_label())


def test_no_figure_without_lines(tmp_path):
  assert function.function(_study(tmp_path, kd=(0,))) is None


@pytest.mark.parametrize('missing', ['anisotropy', 'function_gap'])
def test_anisotropy_is_optional_and_function_gap_required(tmp_path, missing):
  lines = [line for line in _lines(1.0) if line['kind'] != missing]
  synthetic.write_lines(tmp_path / 'runs' / 'fcfd' / 'seed0', lines)
  figure = function.function(read_study(tmp_path))
  assert (figure is None) == (missing == 'function_gap')
