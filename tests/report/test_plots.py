import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from kdjax.report import bars, canvas, clouds, curves, read_study
from kdjax.report.plots import PLOTS
from tests.report.synthetic import ARMS, Arm, write_lines, write_study

ONE_SEED = {
  'teacher': Arm(accuracies=(0.98,), curve=False),
  'student': Arm(accuracies=(0.85,), epochs=1),
  'kd+kd2m': Arm(accuracies=(0.84,), epochs=1, bound=True, function=True),
}
MANY = {**ARMS, **{f'm{i}': Arm(accuracies=(0.5, 0.6)) for i in range(12)}}


def _study(folder, arms=ARMS, **kwargs):
  return read_study(write_study(folder, arms, **kwargs))


@pytest.mark.parametrize('arms', [ARMS, ONE_SEED], ids=['seeds', 'one seed'])
@pytest.mark.parametrize('name', PLOTS)
def test_each_plot_is_a_figure_with_a_caption(tmp_path, name, arms):
  figure = PLOTS[name](_study(tmp_path, arms))
  assert figure is not None
  assert len(str(figure.get_label())) > 40
  sheet = io.BytesIO()
  figure.savefig(sheet, format='png')
  with Image.open(sheet) as picture:
    inches = figure.get_size_inches()
    assert picture.size == tuple((150 * inches).astype(int))
    assert np.unique(np.asarray(picture.convert('L'))).size > 50


def test_curves_show_the_mean_and_the_range_of_the_seeds(tmp_path):
  for seed, scores in enumerate([(0.2, 0.4), (0.4, 0.8)]):
    lines = [
      {'kind': 'eval', 'epoch': epoch, 'step': epoch, 'accuracy': score}
      for epoch, score in enumerate(scores, start=1)
    ]
    end = {'kind': 'end', 'accuracy': scores[-1]}
    write_lines(tmp_path / 'runs' / 'kd' / f'seed{seed}', [*lines, end])
  figure = curves.accuracy(read_study(tmp_path))
  assert figure is not None
  (axes,) = figure.axes
  np.testing.assert_allclose(axes.lines[0].get_xydata(), [[1, 30], [2, 60]])
  band = axes.collections[0].get_paths()[0].vertices
  assert {20.0, 40.0, 80.0} <= set(np.round(band[:, 1], 6))


def test_unfinished_seeds_are_drawn_only_if_no_seed_is_finished(tmp_path):
  study = write_study(tmp_path, features=False)
  write_lines(
    study / 'runs' / 'kd' / 'seed1',
    [{'kind': 'eval', 'epoch': 1, 'step': 16, 'accuracy': 0.1, 'loss': 9.0}],
  )
  figure = curves.accuracy(read_study(study))
  assert figure is not None
  kd = next(x for x in figure.axes[0].lines if x.get_label() == 'kd')
  assert len(kd.get_xdata()) == 20


def test_losses_that_are_not_finite_are_skipped(tmp_path):
  lines = [
    {'kind': 'train', 'epoch': epoch, 'step': epoch, 'loss': loss}
    for epoch, loss in enumerate([1.0, float('nan'), 0.0], start=1)
  ]
  write_lines(tmp_path / 'runs' / 'kd' / 'seed0', lines)
  figure = curves.loss(read_study(tmp_path))
  assert figure is not None
  (line,) = figure.axes[0].lines
  np.testing.assert_array_equal(line.get_xydata(), [[1, 1], [3, 0]])
  assert figure.axes[0].get_yscale() == 'linear'


def test_a_teacher_that_is_only_evaluated_is_a_horizontal_line(tmp_path):
  study = write_study(tmp_path, features=False)
  evaluated = {'epoch': 0, 'step': 0, 'accuracy': 0.97}
  write_lines(
    study / 'runs' / 'teacher' / 'seed0',
    [{'kind': 'eval', **evaluated}, {'kind': 'end', **evaluated}],
  )
  figure = curves.accuracy(read_study(study))
  assert figure is not None
  teacher = figure.axes[0].lines[0]
  assert teacher.get_label() == 'teacher'
  np.testing.assert_allclose(teacher.get_ydata(), 97)
  assert 'Only the final accuracy is known for: teacher.' in str(
    figure.get_label()
  )


def test_bars_are_the_means_and_the_paired_differences(tmp_path):
  figure = bars.comparison(_study(tmp_path, features=False))
  assert figure is not None
  left, right = figure.axes
  widths = [bar.get_width() for bar in left.patches]
  np.testing.assert_allclose(widths, [98, 85, 93, 89])
  np.testing.assert_allclose([bar.get_width() for bar in right.patches], [8, 4])


def test_no_comparison_of_a_single_arm(tmp_path):
  study = _study(tmp_path, {'student': Arm(accuracies=(0.8,))}, features=False)
  assert bars.comparison(study) is None


def test_an_arm_has_the_same_color_in_every_plot(tmp_path):
  study = _study(tmp_path, MANY, features=False)
  comparison, accuracy = bars.comparison(study), curves.accuracy(study)
  assert comparison is not None
  assert accuracy is not None
  lines = {x.get_label(): x for x in accuracy.axes[0].lines}
  for arm, bar in zip(study.arms, comparison.axes[0].patches, strict=True):
    line = lines[arm]
    assert line.get_color() == '#{:02x}{:02x}{:02x}'.format(
      *(round(255 * part) for part in bar.get_facecolor()[:3])
    )


def test_more_than_six_methods_differ_in_line_style(tmp_path):
  study = _study(tmp_path, MANY, features=False)
  assert len(set(canvas.pens(study).values())) == len(MANY)


def test_features_of_the_same_width_are_neither_shifted_nor_scaled(tmp_path):
  study = _study(tmp_path)
  figure = clouds.features(study)
  assert figure is not None
  titles = [axes.get_title(loc='left') for axes in figure.axes]
  assert titles == [
    'teacher',
    'student before training',
    'student, trained',
    'kd, trained',
    'kd2m, trained',
  ]
  teacher = figure.axes[4].collections[0].get_offsets()
  student = figure.axes[4].collections[1].get_offsets()
  # kd2m's features are nine tenths the teacher's: they lie close to them.
  assert np.linalg.norm(student - teacher) < 0.3 * np.linalg.norm(teacher)
  assert 'neither shifted nor scaled' in str(figure.get_label())


def test_features_of_another_width_are_aligned(tmp_path):
  arms = {
    name: arm if name == 'teacher' else dataclasses.replace(arm, width=8)
    for name, arm in ARMS.items()
  }
  figure = clouds.features(_study(tmp_path, arms))
  assert figure is not None
  assert 'Procrustes' in str(figure.get_label())
  teacher, student = (
    np.asarray(points.get_offsets()) for points in figure.axes[4].collections
  )
  # kd2m's features are mostly half of the teacher's sixteen axes.
  correlation = np.corrcoef(teacher.ravel(), student.ravel())[0, 1]
  assert correlation > 0.8


def test_students_with_different_initial_weights_have_a_panel_each(tmp_path):
  study = write_study(tmp_path)
  path = study / 'runs' / 'kd' / 'seed0' / 'features.npz'
  with np.load(path) as stored:
    arrays = dict(stored)
  arrays['embedding_before'] = arrays['embedding_before'] + 1
  np.savez(path, **arrays)
  figure = clouds.features(read_study(study))
  assert figure is not None
  assert len(figure.axes) == 7


def test_at_most_ten_classes_and_600_images_are_drawn(tmp_path):
  study = write_study(tmp_path)
  rng = np.random.default_rng(0)
  for run in study.glob('runs/*/seed*'):
    np.savez(
      run / 'features.npz',
      embedding=rng.normal(size=(8000, 4)),
      labels=np.arange(8000) % 40,
    )
  figure = clouds.features(read_study(study))
  assert figure is not None
  assert len(figure.axes[0].collections[0].get_offsets()) == 600
  assert len(figure.axes[0].texts) == 10


def test_no_figure_without_features_or_teacher(tmp_path):
  assert clouds.features(_study(tmp_path / 'a', features=False)) is None
  arms = {k: v for k, v in ARMS.items() if k != 'teacher'}
  assert clouds.features(_study(tmp_path / 'b', arms)) is None
