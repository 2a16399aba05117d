"""Whole commands, from flags to report, and commands on existing folders."""

import json
import shutil

import jax
import numpy as np
import pytest

from tests.experiments import commands
from tests.train import support

pytestmark = pytest.mark.slow  # a whole command is run first


@pytest.fixture(scope='module')
def finished(tmp_path_factory, compiled_once):
  """Work folder and `--dataset` flag of a successful command."""
  folder = tmp_path_factory.mktemp('finished')
  dataset = commands.write_npz(folder)
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('KDJAX_CACHE', str(folder / 'cache'))
    status = commands.cifar(
      *commands.SMALL, f'--dataset={dataset}', f'--workdir={folder}/w'
    )
  assert status == 0
  return folder / 'w', f'--dataset={dataset}'


def test_command_writes_runs_and_report(finished):
  workdir, _ = finished
  runs = {f'{run.parent.name}/{run.name}' for run in workdir.glob('runs/*/*')}
  assert runs == {'teacher/seed0', 'student/seed0', 'kd/seed0'}
  assert (workdir / 'report' / 'report.html').stat().st_size > 1000
  for run in workdir.glob('runs/*/*'):
    assert commands.lines(run)[-1]['kind'] == 'end'
  config = json.loads((workdir / 'config.json').read_text())
  assert config['config']['method']['type'] == 'Kd'
  teacher = json.loads((workdir / 'runs/kd/seed0/config.json').read_text())
  cache = workdir.parent / 'cache' / 'teachers' / teacher['teacher_hash']
  assert (cache / 'student').is_dir()


def test_existing_runs_require_the_resume_flag(fails, finished):
  workdir, dataset = finished
  status, said = fails(dataset, *commands.SMALL, f'--workdir={workdir}')
  assert status == 2
  assert 'holds runs of this configuration already. Give --resume' in said


def test_resuming_with_another_configuration_is_rejected(fails, finished):
  workdir, dataset = finished
  before = commands.lines(workdir / 'runs' / 'kd' / 'seed0')
  status, said = fails(
    dataset,
    *commands.SMALL,
    '--method.temperature=2',
    f'--workdir={workdir}',
    '--resume',
  )
  assert status == 2
  assert 'temperature: was 4.0, now 2.0' in said
  assert commands.lines(workdir / 'runs' / 'kd' / 'seed0') == before


def test_checkpoint_of_another_network_lists_the_differences(
  fails, finished, tmp_path
):
  workdir, dataset = finished
  status, said = fails(
    dataset,
    *commands.SMALL,
    '--teacher=convnet_32_64',
    f'--teacher_checkpoint={workdir / "runs" / "teacher" / "seed0"}',
    f'--workdir={tmp_path}/w',
  )
  assert status == 2
  assert 'does not fit convnet_32_64' in said
  assert 'stored (16,), expected (64,)' in said


def test_teacher_checkpoint_is_evaluated_and_not_trained(finished, tmp_path):
  workdir, dataset = finished
  status = commands.cifar(
    dataset,
    *commands.SMALL,
    f'--teacher_checkpoint={workdir / "runs" / "teacher" / "seed0"}',
    f'--workdir={tmp_path}/w',
  )
  assert status == 0
  given = commands.lines(tmp_path / 'w' / 'runs' / 'teacher' / 'seed0')
  assert [line['kind'] for line in given] == ['eval', 'end']
  trained = commands.lines(workdir / 'runs' / 'teacher' / 'seed0')
  assert given[-1]['accuracy'] == trained[-1]['accuracy']
  # The same teacher, so that the student learns the same.
  support.identical(
    commands.student(workdir / 'runs' / 'kd' / 'seed0'),
    commands.student(tmp_path / 'w' / 'runs' / 'kd' / 'seed0'),
  )


@pytest.mark.slow
def test_cached_teacher_of_an_earlier_command_is_reused(
  finished, tmp_path, monkeypatch, capsys
):
  workdir, dataset = finished
  monkeypatch.setenv('KDJAX_CACHE', str(workdir.parent / 'cache'))
  flags = (dataset, *commands.SMALL, f'--workdir={tmp_path}/w')
  assert commands.cifar(*flags) == 0
  assert 'The teacher is taken from' in capsys.readouterr().err
  assert not (tmp_path / 'w/runs/teacher/seed0/student').exists()
  commands.same_result_of(workdir, tmp_path / 'w', 'kd/seed0')
  # The folder knows its teacher only by hash: it is found again, or trained.
  for _ in range(2):
    shutil.rmtree(tmp_path / 'w/runs/kd')
    assert commands.cifar(*flags, '--resume') == 0
    commands.same_result_of(workdir, tmp_path / 'w', 'kd/seed0')
    monkeypatch.setenv('KDJAX_CACHE', str(tmp_path / 'another'))


@pytest.mark.slow
def test_torn_cached_teacher_is_trained_again(
  finished, tmp_path, monkeypatch, capsys
):
  workdir, dataset = finished
  cache = tmp_path / 'cache'
  shutil.copytree(workdir.parent / 'cache', cache)
  for file in cache.rglob('manifest.ocdbt'):
    file.write_bytes(file.read_bytes()[:9])
  assert (
    commands.cifar(dataset, *commands.SMALL, f'--workdir={tmp_path}/w') == 0
  )
  assert 'The teacher is trained again' in capsys.readouterr().err
  commands.same_result_of(workdir, tmp_path / 'w', 'kd/seed0')
  # And it is kept, whole.
  assert (
    commands.cifar(dataset, *commands.SMALL, f'--workdir={tmp_path}/w2') == 0
  )
  assert 'The teacher is taken from' in capsys.readouterr().err


@pytest.mark.slow
def test_unwritable_cache_is_only_a_warning(
  finished, tmp_path, monkeypatch, capsys
):
  workdir, dataset = finished
  (tmp_path / 'file').write_text('')
  monkeypatch.setenv('KDJAX_CACHE', str(tmp_path / 'file'))
  assert (
    commands.cifar(dataset, *commands.SMALL, f'--workdir={tmp_path}/w') == 0
  )
  assert 'cannot be kept for later commands' in capsys.readouterr().err
  commands.same_result(workdir, tmp_path / 'w')


@pytest.mark.slow
def test_non_finite_loss_stops_the_run_with_an_error(fails, finished, tmp_path):
  _, dataset = finished
  status, said = fails(
    dataset,
    *commands.SMALL,
    '--method=none',
    '--epochs=4',
    '--learning_rate=1e-6',
    '--decay_at=0.5',  # from step 6 on the rate is huge: 7 finds out
    '--decay_factor=1e36',
    f'--workdir={tmp_path}/w',
  )
  assert status == 1
  run = tmp_path / 'w' / 'runs' / 'student' / 'seed0'
  assert f'not finite at step 7 (epoch 2) of {run}. Checkpoints of the' in said
  kept = sorted(path.name for path in (run / 'checkpoints/latest').iterdir())
  assert kept == ['3', '6']
  assert commands.lines(run)[-1]['kind'] == 'diverged'


@pytest.mark.slow
def test_image_folder_trains_in_bfloat16_with_averaged_weights(
  tmp_path, capsys
):
  commands.write_folder(tmp_path / 'data')
  status = commands.cifar(
    f'--dataset=folder:{tmp_path / "data"}',
    *commands.SMALL,
    '--precision=bfloat16',
    '--ema_decay=0.5',
    '--evaluate_every=3',
    '--teacher_table=device',
    '--fold_teacher=always',
    f'--workdir={tmp_path}/w',
  )
  assert status == 0
  said = capsys.readouterr().err
  assert "Computing the teacher's outputs" in said
  for run in (tmp_path / 'w').glob('runs/*/*'):
    variables = commands.student(run)
    assert {x.dtype for x in jax.tree.leaves(variables)} == {np.dtype('f4')}
    (evaluated,) = [x for x in commands.lines(run) if x['kind'] == 'eval']
    assert evaluated['correct'] == round(15 * evaluated['accuracy'])
    about = json.loads((run / 'config.json').read_text())
    assert about['precision'] == 'bfloat16'
    assert about['recipe']['ema_decay'] == 0.5


@pytest.mark.slow
@pytest.mark.long
def test_real_cifar100_trains_through_tfds(cifar100_data_dir, tmp_path):
  commands.run(
    'cifar',
    '--method=kd2m',
    '--teacher=resnet8',
    '--student=resnet8',
    '--limit=2',
    '--epochs=1',
    '--batch_size=64',
    f'--data_dir={cifar100_data_dir}',
    f'--workdir={tmp_path / "with a space" / "w"}',
    cache=tmp_path,
    cwd=tmp_path,
  )
  workdir = tmp_path / 'with a space' / 'w'
  for arm in ('teacher', 'student', 'kd2m'):
    run = workdir / 'runs' / arm / 'seed0'
    lines = {line['kind']: line for line in commands.lines(run)}
    # 200 images: three batches and one of eight.
    assert lines['train']['step'] == 4
    right = 10_000 * lines['eval']['accuracy']
    assert lines['eval']['correct'] == round(right)
    assert lines['end']['parameters'] == 83_892  # as the goldens have it
    about = json.loads((run / 'config.json').read_text())
    assert about['dataset'] == 'cifar100'
    assert about['num_classes'] == 100
    assert about['mean'] == [0.5071, 0.4867, 0.4408]
  assert (workdir / 'report' / 'report.html').exists()
