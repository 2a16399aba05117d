"""`experiments.compare --sweep`: many settings with one program."""

import pytest

from experiments import compare, kd2m
from kdjax.methods import Kd, Kd2m
from kdjax.runtime import files
from tests.experiments import commands
from tests.train import support

SETTINGS = {'methods': ('kd', 'icd'), 'dataset': 'digits'}


def test_sweep_has_one_arm_per_combination_of_values():
  config = compare.Config(
    sweep=('kd.weight=0.3:1', 'kd.learning_rate=0.01:0.1'), **SETTINGS
  )
  assert list(config.arms) == [
    'kd_weight=0.3_learning_rate=0.01',
    'kd_weight=0.3_learning_rate=0.1',
    'kd_weight=1_learning_rate=0.01',
    'kd_weight=1_learning_rate=0.1',
    'icd',
  ]
  arm = 'kd_weight=1_learning_rate=0.01'
  assert config.arms[arm] == Kd(weight=1.0)
  assert config.numbers(arm) == {'weight': 1.0, 'learning_rate': 0.01}
  assert config.numbers('icd') == {}


def test_weight_schedules_are_multiplied_and_not_swept():
  steps = Kd2m(weight=((0, 1.0), (5, 2.0)))
  config = kd2m.Config(method=steps, metrics=('w2',), weight_factors=(1.0, 3.0))
  assert config.arms['w2_x3'].weight == ((0, 3.0), (5, 6.0))
  assert config.numbers('w2_x3') == {}


def test_student_alone_has_no_swept_numbers():
  assert compare.Config(**SETTINGS).numbers('student') == {}
  several = kd2m.Config(metrics=('w2',), weight_factors=(0.1, 1.0))
  assert several.numbers('student') == several.numbers('kd') == {}
  weights = [several.numbers(f'w2_x{x:g}')['weight'] for x in (0.1, 1.0)]
  assert weights[0] == pytest.approx(0.1 * weights[1])


@pytest.mark.parametrize(
  ('sweep', 'message'),
  [
    ('kd.weight', 'A sweep is ARM.SETTING=VALUE:VALUE'),
    ('kd2m.weight=1:2', 'with an arm of kd, icd'),
    ('kd.weight=1', 'two different numbers or more.*--changes sets one'),
    ('kd.weight=1:1', 'two different numbers'),
    ('kd.weight=1:heavy', 'two different numbers'),
    ('kd.warmth=1:2', "Kd has no setting 'warmth'"),
    ('icd.width=64:128', 'width of Icd must be a whole number, got 64.0'),
    ('kd.temperature=1:0', 'temperature of Kd must be positive'),
    ('kd.learning_rate=0.1:-1', 'learning_rate must be positive, got -1'),
  ],
)
def test_invalid_sweeps_raise_an_error(sweep, message):
  with pytest.raises(ValueError, match=message):
    compare.Config(sweep=(sweep,), **SETTINGS)


@pytest.mark.slow
def test_swept_arm_matches_a_separate_comparison(tmp_path):
  flags = (
    *commands.SMALL[1:],
    '--methods=kd',
    f'--dataset={commands.write_npz(tmp_path)}',
    '--seeds=0,1',
    '--cpu_devices=2',
  )
  swept = tmp_path / 'swept'
  commands.run(
    'compare',
    *flags,
    '--sweep=kd.temperature=2:6',
    f'--workdir={swept}',
    cache=tmp_path,
  )
  alone = tmp_path / 'alone'
  commands.run(
    'compare',
    *flags,
    '--changes=kd.temperature=6',
    '--together=never',
    f'--workdir={alone}',
    cache=tmp_path,
  )
  for seed in ('seed0', 'seed1'):
    one = swept / 'runs' / 'kd_temperature=6' / seed
    other = alone / 'runs' / 'kd' / seed
    support.close(commands.student(one), commands.student(other), 1e-4)
  logs = [run / 'metrics.jsonl' for run in swept.glob('runs/kd_*/seed*')]
  ends = [files.read_lines(log)[-1] for log in logs]
  assert [end['compilations'] for end in ends] == [1] * 4
