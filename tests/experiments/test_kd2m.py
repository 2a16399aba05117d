"""The paper's table: its arms, weights and initial weights."""

import json

import numpy as np
import pytest

from experiments import kd2m
from kdjax.methods import Kd, Kd2m
from kdjax.methods.kd2m_metrics import WEIGHTS
from tests.experiments import commands

SMALL = (
  '--teacher=convnet_8_16',
  '--student=convnet_8_16',
  '--batch_size=8',
  '--epochs=2',
)


def main(*flags):
  return kd2m.COMMAND.main(flags)


def parse(*given):
  return kd2m.COMMAND.parse(given).config


def test_defaults_are_the_paper_s_recipe_and_arms():
  config = parse()
  assert (config.teacher, config.student) == (
    'imagenet_resnet34',
    'imagenet_resnet18',
  )
  rates = [float(config.recipe.learning_rate_at(e)) for e in (0, 15)]
  np.testing.assert_allclose(rates, [0.01, 1e-4], rtol=1e-5)
  assert list(config.arms) == ['kd', *kd2m.TABLE, 'paired']
  assert config.arms['kd'] == Kd()
  for name in ('cw2', 'paired'):
    assert config.arms[name] == Kd2m(
      metric=name, scale='teacher_var', weight=WEIGHTS[name]
    )
  assert config.arms['kl_gauss'] == Kd2m(
    metric='kl_gauss', weight=WEIGHTS['kl_gauss']
  )


def test_weight_factors_make_one_arm_each():
  config = parse('--metrics', 'w2', '--weight_factors', '0.5', '2')
  weights = {
    name: arm.weight for name, arm in config.arms.items() if name != 'kd'
  }
  assert weights == {
    'w2_x0.5': 0.5 * WEIGHTS['w2'],
    'w2_x2': 2 * WEIGHTS['w2'],
  }


def test_method_flags_apply_to_all_metrics():
  config = parse('--method.projection=linear', '--method.scale=none')
  assert config.arms['w2'].projection == 'linear'
  assert config.arms['w2'].weight == 1e-4


@pytest.mark.parametrize(
  ('flags', 'why'),
  [
    (['--method=kd'], '--baselines'),
    (['--metrics', 'w3'], "'w3'; did you mean 'w2'"),
    (['--baselines', 'kdd'], "Unknown method 'kdd'; did you mean 'kd'"),
    (['--weight_factors', '-1'], 'weight_factors must be zero or more'),
    (
      ['--teacher_init=a', '--teacher_checkpoint=b'],
      'give one of them',
    ),
  ],
)
def test_invalid_flags_give_an_error(capsys, flags, why):
  try:
    status = main(*flags)
  except SystemExit as stop:
    status = stop.code
  assert status == 2
  assert why in capsys.readouterr().err


@pytest.mark.slow
def test_networks_are_initialized_from_given_weights(tmp_path):
  data = f'--dataset={commands.write_npz(tmp_path / "data")}'
  first = tmp_path / 'first'
  flags = (data, *SMALL, '--metrics', 'w2', '--baselines')
  assert main(*flags, f'--workdir={first}') == 0
  start = first / 'runs' / 'teacher' / 'seed0'
  given = (f'--teacher_init={start}', f'--student_init={start}')
  again = tmp_path / 'again'
  slow = ('--learning_rate=1e-6', '--final_learning_rate=0')
  assert main(*flags, *given, *slow, f'--workdir={again}') == 0
  for arm in ('teacher', 'student', 'w2'):
    run = again / 'runs' / arm / 'seed0'
    about = json.loads((run / 'config.json').read_text())
    assert about['init'] != 'none'
    for got, want in zip(_kernels(run), _kernels(start)):
      np.testing.assert_allclose(got, want, atol=1e-4)
  report = (again / 'report' / 'table.md').read_text()
  assert '| w2 | convnet_8_16 | 1 |' in report


@pytest.mark.slow
def test_student_is_not_initialized_from_its_teacher(tmp_path):
  data = f'--dataset={commands.write_npz(tmp_path / "data")}'
  slow = ('--learning_rate=1e-6', '--final_learning_rate=0')
  flags = (data, *SMALL, *slow, '--metrics', 'w2', '--baselines')
  assert main(*flags, f'--workdir={tmp_path / "w"}') == 0
  runs = tmp_path / 'w' / 'runs'
  teacher, student, distilled = (
    _kernels(runs / arm / 'seed0') for arm in ('teacher', 'student', 'w2')
  )
  for one, other, same in zip(teacher, student, distilled):
    assert np.mean(np.abs(one - other)) > 0.05
    np.testing.assert_allclose(same, other, atol=1e-3)


@pytest.mark.slow
def test_initial_weights_of_another_network_give_an_error(tmp_path, capsys):
  data = f'--dataset={commands.write_npz(tmp_path / "data")}'
  np.savez(tmp_path / 'other.npz', nobody=np.zeros(3, np.float32))
  status = main(
    data,
    *SMALL,
    f'--student_init={tmp_path / "other.npz"}',
    f'--workdir={tmp_path / "w"}',
  )
  assert status == 2
  assert 'does not fit convnet_8_16' in capsys.readouterr().err


def _kernels(run):
  params = commands.student(run)['params']
  return [params['stage_0']['conv_0']['kernel'], params['head']['kernel']]
