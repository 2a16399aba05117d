"""What commands say to bad input, and the flags they take."""

import json
import os
import pathlib
import shutil
import tempfile

import jax
import numpy as np
import pytest

from experiments import cifar, digits
from kdjax.cli import command, flags, work_folder
from kdjax.cli.processes import Processes
from kdjax.methods import Kd, Kd2m, Supervised
from tests.experiments import commands
from tests.train import support


def main(*flags):
  """The exit status of `python -m experiments.cifar FLAGS`."""
  return command.main(cifar.make_config, name='experiments.cifar', argv=flags)


@pytest.fixture
def fails(capsys):
  """Runs a command that must fail, and gives the status and its message."""

  def run(*flags):
    try:
      status = main(*flags)
    except SystemExit as stop:  # the parser's own way out
      status = stop.code
    said = capsys.readouterr().err
    assert 'Traceback' not in said
    messages = said[said.rindex('error: ') :] if 'error: ' in said else said
    return status, messages

  return run


@pytest.fixture
def toy(tmp_path):
  return f'--dataset={commands.write_npz(tmp_path / "data")}'


def test_an_unknown_method_names_the_nearest(fails):
  status, said = fails('--method=kd2n')
  assert status == 2
  assert "Unknown method 'kd2n'; did you mean 'kd2m'" in said


@pytest.mark.parametrize(
  ('name', 'why'),
  [('kd+', "Unknown method ''"), ('kd+kd', 'different'), ('none+kd', 'none')],
)
def test_methods_that_cannot_be_combined(fails, name, why):
  status, said = fails(f'--method={name}')
  assert status == 2
  assert why in said


def test_an_unknown_network_names_the_nearest(fails, toy, tmp_path):
  status, said = fails(toy, '--student=resnet_8', f'--workdir={tmp_path}/w')
  assert status == 2
  assert "Unknown network 'resnet_8'; did you mean" in said
  assert "'resnet8'" in said


def test_an_unknown_set_names_the_nearest(fails, tmp_path):
  status, said = fails('--dataset=cifar1000', f'--workdir={tmp_path}/w')
  assert status == 2
  assert 'cifar1000' in said
  assert 'Did you mean cifar100' in said


@pytest.mark.parametrize(
  ('flag', 'why'),
  [
    ('--method.weight=-1', 'weight of Kd2m must be zero or more, got -1.0'),
    ('--method.weight=nan', 'weight of Kd2m must be zero or more, got nan'),
    ('--method.metric=w3', "'w3'; did you mean 'w2'"),
    ('--epochs=0', 'epochs must be at least 1, got 0'),
    ('--batch_size=0', 'batch_size must be at least 1, got 0'),
    ('--limit=0', 'limit is training images per class, at least 1, got 0'),
    ('--teacher_limit=-2', 'teacher_limit is training images per class'),
    ('--decay_at=150,180,210', 'shares of all epochs, from 0 to 1, got 150'),
    ('--checkpoint_every=0', 'checkpoint_every must be at least 1, got 0'),
    ('--seeds=0,0', 'seeds must be different'),
    ('--seeds=-1', 'seeds must be zero or more'),
    ('--seeds=4294967296', 'below 2**32, got (4294967296,)'),
    ('--seeds=', '--seeds'),
    ('--teacher_epochs=0', 'teacher_epochs must be at least 1'),
    ('--precision=float16', 'float16'),
    ('--epoch=3', '--epochs'),
    ('--resume', '--resume goes on with a folder: give --workdir=FOLDER'),
    ('--num_processes=2', '--coordinator=HOST:PORT or --distributed'),
  ],
)
def test_a_flag_that_cannot_be_is_named(fails, flag, why):
  status, said = fails('--method=kd2m', flag)
  assert status == 2
  assert why in ' '.join(said.replace('│', ' ').split())


def test_widths_that_differ_need_a_projection(fails, toy, tmp_path):
  status, said = fails(
    toy,
    '--method=kd2m',
    '--student=convnet_4_8',
    '--teacher=convnet_8_16',
    '--batch_size=8',
    f'--workdir={tmp_path}/w',
  )
  assert status == 2
  assert 'convnet_4_8 has 8 and convnet_8_16 has 16' in said
  assert '--method.projection=linear' in said
  assert not (tmp_path / 'w' / 'runs').exists()  # found before any training


def test_images_too_small_for_a_network(fails, toy, tmp_path):
  status, said = fails(
    toy, *commands.SMALL, '--student=vgg8', f'--workdir={tmp_path}/w'
  )
  assert status == 2
  assert 'vgg8 leaves nothing of images of 4 by 4 pixels' in said
  assert not (tmp_path / 'w' / 'runs').exists()


def test_a_batch_larger_than_the_set(fails, toy, tmp_path):
  status, said = fails(
    toy, *commands.SMALL, '--batch_size=25', f'--workdir={tmp_path}/w'
  )
  assert status == 2
  assert 'batch of 25 is larger than the training set of 24' in said
  assert '--batch_size=24' in said
  assert not (tmp_path / 'w' / 'runs').exists()


def test_a_batch_larger_than_what_is_left_for_the_student(fails, toy, tmp_path):
  status, said = fails(
    toy,
    *commands.SMALL,
    '--limit=1',
    '--teacher_limit=8',
    f'--workdir={tmp_path}/w',
  )
  assert status == 2
  assert 'batch of 8 is larger than the training set of 3' in said
  assert not (tmp_path / 'w' / 'runs').exists()  # no teacher was trained


IMAGES, LABELS = support.arrays(24, 1)


@pytest.mark.parametrize(
  ('changes', 'why'),
  [
    ({'y_train': LABELS - 1}, 'labels must count classes from 0, got -1'),
    ({'y_test': np.full(15, 7)}, 'test labels must be in [0, 2]'),
    ({'y_train': LABELS[:-1]}, '24 images but 23 labels'),
    ({'y_train': LABELS * 1.0}, 'labels must be int32'),
    ({'x_train': IMAGES / 255}, 'images must be uint8'),
    ({'x_train': IMAGES[..., [0, 0]]}, 'with 1 or 3 channels'),
    ({'x_test': np.zeros((15, 5, 4, 1), np.uint8)}, 'test images (5, 4, 1)'),
    ({'x_train': IMAGES[:0], 'y_train': LABELS[:0]}, 'there are no images'),
  ],
)
def test_arrays_that_are_no_images_and_labels(fails, tmp_path, changes, why):
  name = commands.write_npz(tmp_path / 'data', **changes)
  status, said = fails(f'--dataset={name}', f'--workdir={tmp_path}/w')
  assert status == 2
  assert why in said
  assert name in said


def test_a_set_that_is_nowhere_names_the_ways_out(fails, tmp_path, monkeypatch):
  for proxy in ('http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY'):
    monkeypatch.setenv(proxy, 'http://127.0.0.1:9')  # nobody listens there
  status, said = fails(
    '--dataset=cifar10',
    f'--data_dir={tmp_path}/nowhere',
    f'--workdir={tmp_path}/w',
  )
  assert status == 2
  assert 'the data set cifar10 is not prepared in' in said
  assert f'{tmp_path}/nowhere' in said
  assert '--data_dir=FOLDER' in said
  assert '--dataset=npz:FILE or --dataset=folder:FOLDER' in said


def test_a_folder_with_a_file_in_its_way(fails, toy, tmp_path):
  (tmp_path / 'file').write_text('')
  status, said = fails(toy, f'--workdir={tmp_path}/file/w')
  assert status == 2
  assert f'--workdir={tmp_path}/file/w cannot be written to: Not a' in said


@pytest.fixture
def locked():
  """A folder that this process may read and not write."""
  folder = pathlib.Path(tempfile.mkdtemp())  # pytest's are for their owner
  folder.chmod(0o555)
  if os.geteuid():
    yield folder
  else:  # the superuser may write anywhere
    os.seteuid(65534)
    yield folder
    os.seteuid(0)
  shutil.rmtree(folder)


def test_a_folder_without_permission_is_found_before_loading(fails, locked):
  status, said = fails(f'--workdir={locked}')
  assert status == 2
  assert f'--workdir={locked} cannot be written to: Permission denied' in said
  status, said = fails(f'--workdir={locked}/w')
  assert status == 2
  assert f'--workdir={locked}/w cannot be written to: Permission' in said


def test_a_folder_that_another_command_is_at_work_in(fails, toy, tmp_path):
  with work_folder.hold(tmp_path / 'w', {}, resume=False):
    status, said = fails(toy, f'--workdir={tmp_path}/w')
  assert status == 2
  assert f'Another command is at work in {tmp_path}/w' in said


def test_commands_of_one_second_have_folders_of_their_own(
  tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  made = [work_folder.new_folder('experiments.cifar', 'kd') for _ in range(4)]
  assert len(set(made)) == 4
  assert all(folder.is_dir() for folder in made)


def test_a_file_where_a_run_shall_be(fails, toy, tmp_path):
  (tmp_path / 'w').mkdir()
  (tmp_path / 'w' / 'runs').write_text('')
  status, said = fails(toy, *commands.SMALL, f'--workdir={tmp_path}/w')
  assert status == 1
  assert str(tmp_path / 'w' / 'runs') in said
  assert (tmp_path / 'w' / 'runs').read_text() == ''


@pytest.mark.parametrize('what', ['missing', 'empty', 'file'])
def test_a_teacher_checkpoint_that_is_none(fails, toy, tmp_path, what):
  path = tmp_path / 'teacher'
  if what == 'empty':
    path.mkdir()
  elif what == 'file':
    path.write_text('no checkpoint')
  status, said = fails(
    toy,
    *commands.SMALL,
    f'--teacher_checkpoint={path}',
    f'--workdir={tmp_path}/w',
  )
  assert status == 2
  assert str(path) in said


@pytest.fixture(scope='module')
def finished(tmp_path_factory, compiled_once):
  """The work folder and the set of a command that has ended well."""
  folder = tmp_path_factory.mktemp('finished')
  dataset = commands.write_npz(folder)
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('KDJAX_CACHE', str(folder / 'cache'))
    status = main(
      *commands.SMALL, f'--dataset={dataset}', f'--workdir={folder}/w'
    )
  assert status == 0
  return folder / 'w', f'--dataset={dataset}'


def test_a_command_leaves_its_runs_and_a_report(finished):
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


def test_a_folder_that_is_taken_asks_for_resume(fails, finished):
  workdir, dataset = finished
  status, said = fails(dataset, *commands.SMALL, f'--workdir={workdir}')
  assert status == 2
  assert 'holds this comparison already. Give --resume' in said


def test_a_folder_of_another_configuration(fails, finished):
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


def test_a_checkpoint_of_another_network_lists_what_differs(
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


def test_a_given_teacher_is_judged_and_taken(finished, tmp_path):
  workdir, dataset = finished
  status = main(
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
def test_a_teacher_of_an_earlier_command_is_not_trained_again(
  finished, tmp_path, monkeypatch, capsys
):
  workdir, dataset = finished
  monkeypatch.setenv('KDJAX_CACHE', str(workdir.parent / 'cache'))
  flags = (dataset, *commands.SMALL, f'--workdir={tmp_path}/w')
  assert main(*flags) == 0
  assert 'The teacher is taken from' in capsys.readouterr().err
  assert not (tmp_path / 'w/runs/teacher/seed0/student').exists()
  commands.same_result_of(workdir, tmp_path / 'w', 'kd/seed0')
  # The folder knows its teacher only by hash: it is found again, or trained.
  for _ in range(2):
    shutil.rmtree(tmp_path / 'w/runs/kd')
    assert main(*flags, '--resume') == 0
    commands.same_result_of(workdir, tmp_path / 'w', 'kd/seed0')
    monkeypatch.setenv('KDJAX_CACHE', str(tmp_path / 'another'))


@pytest.mark.slow
def test_a_torn_teacher_in_the_cache_is_trained_again(
  finished, tmp_path, monkeypatch, capsys
):
  workdir, dataset = finished
  cache = tmp_path / 'cache'
  shutil.copytree(workdir.parent / 'cache', cache)
  for file in cache.rglob('manifest.ocdbt'):
    file.write_bytes(file.read_bytes()[:9])
  assert main(dataset, *commands.SMALL, f'--workdir={tmp_path}/w') == 0
  assert 'The teacher is trained again' in capsys.readouterr().err
  commands.same_result_of(workdir, tmp_path / 'w', 'kd/seed0')
  # And it is kept, whole.
  assert main(dataset, *commands.SMALL, f'--workdir={tmp_path}/w2') == 0
  assert 'The teacher is taken from' in capsys.readouterr().err


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_to_is_no_failure(
  finished, tmp_path, monkeypatch, capsys
):
  workdir, dataset = finished
  (tmp_path / 'file').write_text('')
  monkeypatch.setenv('KDJAX_CACHE', str(tmp_path / 'file'))
  assert main(dataset, *commands.SMALL, f'--workdir={tmp_path}/w') == 0
  assert 'cannot be kept for later commands' in capsys.readouterr().err
  commands.same_result(workdir, tmp_path / 'w')


@pytest.mark.slow
def test_a_loss_that_is_not_finite(fails, finished, tmp_path):
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
def test_a_folder_of_images_in_bfloat16_with_averaged_weights(tmp_path, capsys):
  commands.write_folder(tmp_path / 'data')
  status = main(
    f'--dataset=folder:{tmp_path / "data"}',
    *commands.SMALL,
    '--precision=bfloat16',
    '--ema_decay=0.5',
    '--evaluate_every=3',
    '--teacher_table=host',
    '--fold_teacher=always',
    f'--workdir={tmp_path}/w',
  )
  assert status == 0
  said = capsys.readouterr().err
  assert "Computing the teacher's outputs" in said
  assert "in the host's memory" in said
  for run in (tmp_path / 'w').glob('runs/*/*'):
    variables = commands.student(run)
    assert {x.dtype for x in jax.tree.leaves(variables)} == {np.dtype('f4')}
    (evaluated,) = [x for x in commands.lines(run) if x['kind'] == 'eval']
    assert evaluated['correct'] == round(15 * evaluated['accuracy'])
    about = json.loads((run / 'config.json').read_text())
    assert about['precision'] == 'bfloat16'
    assert about['recipe']['ema_decay'] == 0.5


@pytest.mark.slow
def test_the_real_cifar100_through_tfds(cifar100_data_dir, tmp_path):
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


def _parse(*given, make_config=cifar.make_config):
  return flags.parse(make_config, given, 'experiments.cifar', 'kd2m')


def test_flags_reach_the_configuration():
  config, place, processes, _ = _parse(
    '--method=kd',
    '--method.temperature=3',
    '--epochs=7',
    '--evaluate_every=2',
    '--seeds=3,1',
    '--precision=bfloat16',
    '--limit=5',
    '--workdir=somewhere',
    '--resume',
  )
  assert config.method == Kd(temperature=3.0)
  assert config.recipe.epochs == 7
  assert config.settings.evaluate_every == 2
  assert config.seeds == (3, 1)
  assert config.precision == 'bfloat16'
  assert config.limit == 5
  assert place == command.Place(workdir=pathlib.Path('somewhere'), resume=True)
  assert processes == Processes()


def test_the_parts_of_a_combination_have_flags_of_their_own():
  config = _parse('--method', 'kd+kd2m', '--method.kd.weight=2').config
  assert config.method.kd == Kd(weight=2.0, task_weight=1.0)
  assert config.method.kd2m == Kd2m()
  assert config.method.task_weight == 1.0


@pytest.mark.parametrize(
  'flags',
  [
    ('--seeds', '4', '5'),
    ('--seeds', '4,5'),
    ('--seeds=4,5',),
    ('--seeds=4', '5'),
  ],
)
def test_several_values_are_words_or_have_commas(flags):
  config = _parse(*flags, '--decay-at=0.25,0.5', '--teacher_mean', '1').config
  assert config.seeds == (4, 5)
  assert config.recipe.decay_at == (0.25, 0.5)
  assert config.teacher_mean == (1.0,)


@pytest.mark.parametrize('made', [cifar, digits])
def test_each_command_has_a_default_that_is_itself(made):
  config, place, _, _ = _parse(make_config=made.make_config)
  assert config == made.Config()
  assert place == command.Place()
  assert isinstance(_parse('--method=none').config.method, Supervised)


def test_how_to_go_on_is_the_command_with_the_folder():
  argv = ['--epochs=2', '--workdir', 'a b', '--resume', '--seeds', '1']
  workdir = pathlib.Path('c d')
  again = command._resume_command('experiments.cifar', argv, workdir)
  assert again == (
    "python -m experiments.cifar --epochs=2 --seeds 1 '--workdir=c d' --resume"
  )
