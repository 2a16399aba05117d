import dataclasses

import numpy as np

from kdjax.report import plan, read_study
from kdjax.report.plan import transport
from tests.report.synthetic import ARMS, IMAGES, write_study


def _titles(figure):
  return [axes.get_title(loc='left') for axes in figure.axes[:-1]]


def test_the_plan_minimizes_the_cost():
  rng = np.random.default_rng(0)
  teacher = rng.normal(size=(6, 3))
  # Each image of the student lies closest to the teacher's next image.
  student = np.roll(teacher, -1, axis=0) + 0.01 * rng.normal(size=(6, 3))
  made = transport(student, teacher, np.array([0, 0, 0, 5, 5, 5]))
  assert made.own_image == 0
  assert made.classes.tolist() == [0, 5]
  np.testing.assert_allclose(made.mass, [[2 / 6, 1 / 6], [1 / 6, 2 / 6]])


def test_equal_embeddings_are_matched_to_themselves():
  cloud = np.random.default_rng(1).normal(size=(9, 4)).astype(np.float32)
  made = transport(cloud, cloud, np.arange(9) % 3)
  assert made.own_image == 1
  np.testing.assert_allclose(made.mass, np.eye(3) / 3)


def test_the_plan_is_invariant_to_translation():
  rng = np.random.default_rng(2)
  x, y = rng.normal(size=(2, 20, 4)).astype(np.float32)
  labels = np.arange(20) % 4
  near, far = transport(x, y, labels), transport(x + 64, y + 64, labels)
  np.testing.assert_array_equal(near.mass, far.mass)


def test_draws_the_student_before_training_alone_and_distilled(tmp_path):
  figure = plan.plan(read_study(write_study(tmp_path)))
  assert figure is not None
  # The first distilled arm is kd; the shares of each row add up.
  first = [title.split('\n')[0] for title in _titles(figure)]
  assert first == ['before training', 'student alone, trained', 'kd, trained']
  for axes in figure.axes[:-1]:
    shares = np.asarray(axes.images[0].get_array())
    assert shares.shape == (10, 10)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
  assert f'{IMAGES} evaluation images' in str(figure.get_label())


def test_titles_give_the_mass_within_classes_and_images(tmp_path):
  arms = {'teacher': ARMS['teacher'], 'kd2m': ARMS['kd2m']}
  figure = plan.plan(read_study(write_study(tmp_path, arms)))
  assert figure is not None
  before, after = _titles(figure)
  # Nine tenths of the way to the teacher, every image is nearest to itself.
  assert after.endswith('same class 100.0 %, same image 100.0 %')
  assert not before.endswith('same image 100.0 %')


def test_arms_of_another_width_are_skipped(tmp_path):
  arms = {**ARMS, 'kd': dataclasses.replace(ARMS['kd'], width=8)}
  figure = plan.plan(read_study(write_study(tmp_path / 'a', arms)))
  assert figure is not None
  assert _titles(figure)[-1].startswith('kd2m, trained')
  narrow = {
    name: arm if name == 'teacher' else dataclasses.replace(arm, width=8)
    for name, arm in ARMS.items()
  }
  assert plan.plan(read_study(write_study(tmp_path / 'b', narrow))) is None


def test_no_figure_without_features_or_teacher(tmp_path):
  study = write_study(tmp_path / 'a', features=False)
  assert plan.plan(read_study(study)) is None
  arms = {k: v for k, v in ARMS.items() if k != 'teacher'}
  assert plan.plan(read_study(write_study(tmp_path / 'b', arms))) is None


def test_at_most_ten_classes_are_labeled(tmp_path):
  study = write_study(tmp_path)
  for path in study.glob('runs/*/seed*/features.npz'):
    with np.load(path) as stored:
      arrays = dict(stored)
    np.savez(path, **{**arrays, 'labels': np.arange(IMAGES) % 100})
  figure = plan.plan(read_study(study))
  assert figure is not None
  assert figure.axes[0].get_xticks().tolist() == list(range(0, 100, 10))
