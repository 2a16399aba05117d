"""Checkpoints as teachers: their evaluation and their use in commands."""

import json
import pathlib
import shutil

import jax
import numpy as np
import pytest
from etils import epath

from experiments import cifar as cifar_command
from experiments import export, teachers
from kdjax import convert, methods, models
from kdjax.convert.torch import layout as torch_layout
from kdjax.convert.torch import names
from kdjax.runtime.checkpoints import save_variables
from kdjax.runtime.mesh import all_devices
from kdjax.runtime.progress import Progress
from kdjax.runtime.signals import StopRequest
from kdjax.studies import Comparison, Session, StudyConfig
from kdjax.studies import teacher as teacher_lib
from kdjax.studies.teacher import obtain
from kdjax.train import Recipe, RunSettings
from tests import cifar
from tests.convert import torch_writer
from tests.shared import SHARED, needs_shared

CLASSES, SHAPE = 3, (8, 8, 1)
NAME = 'convnet_4_8'


@pytest.fixture(scope='module')
def network():
  return models.create(NAME, num_classes=CLASSES, mean=(0.25,), std=(0.5,))


@pytest.fixture(scope='module')
def variables(network):
  return network.initialize(jax.random.key(0), SHAPE)


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
  """A dataset of 17 test images, not a multiple of the batch size."""
  path = tmp_path_factory.mktemp('data') / 'small.npz'
  random = np.random.default_rng(0)
  arrays = {}
  for split, count in (('train', 12), ('test', 17)):
    arrays[f'x_{split}'] = random.integers(0, 256, (count, *SHAPE), np.uint8)
    arrays[f'y_{split}'] = np.arange(count) % CLASSES
  np.savez(path, **arrays)
  return path


def count_correct(network, variables, path):
  """Counts correctly classified test images, one by one."""
  with np.load(path) as stored:
    images, labels = stored['x_test'] / np.float32(255), stored['y_test']
  logits = [
    network.apply(variables, image[None], train=False)[0].logits[0]
    for image in images
  ]
  return int((np.argmax(logits, axis=-1) == labels).sum())


def evaluate(*flags):
  return teachers.main(['evaluate', *map(str, flags)])


@pytest.fixture
def checkpoint(tmp_path, network, variables):
  path = tmp_path / 'net.safetensors'
  about = {'mean': network.mean, 'std': network.std}
  convert.save_safetensors(path, variables, network=NAME, about=about)
  return path


@pytest.mark.parametrize('batch_size', [1, 5, 17, 250])
def test_every_image_is_counted_once(
  tmp_path, capsys, checkpoint, network, variables, dataset, batch_size
):
  kept = tmp_path / 'kept.json'
  flags = (f'--checkpoint={checkpoint}', f'--dataset=npz:{dataset}')
  assert evaluate(*flags, f'--batch_size={batch_size}', f'--json={kept}') == 0
  want = count_correct(network, variables, dataset)
  assert f'{want} of 17 images' in capsys.readouterr().out
  (row,) = json.loads(kept.read_text())['rows']
  assert row['correct'] == want
  assert row['accuracy'] == want / 17
  assert row['mean'] == [0.25]
  assert row['dataset'] == 'npz:small.npz'


def test_results_of_precisions_are_stored_together(
  tmp_path, checkpoint, dataset
):
  kept = tmp_path / 'kept.json'
  for precision in ('float32', 'bfloat16', 'float32'):
    config = teachers.Evaluate(
      checkpoint=checkpoint,
      dataset=f'npz:{dataset}',
      precision=precision,
      json=kept,
    )
    teachers.evaluate(config)
  rows = json.loads(kept.read_text())['rows']
  assert [row['precision'] for row in rows] == ['bfloat16', 'float32']


def test_given_normalization_constants_take_precedence(checkpoint, dataset):
  config = teachers.Evaluate(
    checkpoint=checkpoint, dataset=f'npz:{dataset}', mean=(0.1,), std=(2.0,)
  )
  result = teachers.evaluate(config)
  assert (result['mean'], result['std']) == ((0.1,), (2.0,))


@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    (['--network=resnet9'], 'resnet9'),
    (['--network=convnet_8_16'], 'does not fit convnet_8_16'),
    (['--mean', '1', '2', '3', '--std', '1', '1', '1'], 'need 1 numbers each'),
    (['--mean', '1'], 'need 1 numbers each'),
    (['--mean', '1', '--std', '0'], 'need 1 numbers each'),
    (['--mean', '1', '--std', 'nan'], 'need 1 numbers each'),
    (['--dataset=npz:nowhere.npz'], 'nowhere'),
  ],
)
def test_invalid_flags_give_an_error(
  capsys, checkpoint, dataset, flags, message
):
  flags = [f'--checkpoint={checkpoint}', f'--dataset=npz:{dataset}', *flags]
  assert evaluate(*flags) == 2
  assert message in capsys.readouterr().err


def test_file_without_a_network_name_requires_the_flag(
  tmp_path, capsys, dataset
):
  np.savez(tmp_path / 'w.npz', a=np.zeros(3, np.float32))
  flags = (f'--checkpoint={tmp_path / "w.npz"}', f'--dataset=npz:{dataset}')
  assert evaluate(*flags) == 2
  assert 'give --network=NAME' in capsys.readouterr().err


def torch_content(write, variables):
  """Returns a PyTorch file of the network, written without PyTorch."""
  arrays = torch_layout.to_torch(variables, names.rules_of(NAME))
  wrapped = {f'module.{name}': array for name, array in arrays.items()}
  state = torch_writer.mapping({'model': torch_writer.state_dict(wrapped)})
  return write(state, torch_writer.numbered(wrapped))


def write_checkpoint(format_, path, variables, about):
  if format_ == 'safetensors':
    convert.save_safetensors(path, variables)
  elif format_ == 'npz':
    arrays = torch_layout.to_torch(variables, names.rules_of(NAME))
    with path.open('wb') as file:
      np.savez(file, **arrays)
  elif format_ == 'torch':
    path.write_bytes(torch_content(torch_writer.zipped, variables))
  elif format_ == 'legacy torch':
    path.write_bytes(torch_content(torch_writer.legacy, variables))
  elif format_ == 'orbax':
    save_variables(path, variables)
  elif format_ == 'run':
    path.mkdir()
    save_variables(path / 'student', variables)
    (path / 'config.json').write_text(json.dumps(about))


FORMATS = ('safetensors', 'npz', 'torch', 'legacy torch', 'orbax', 'run')


def comparison(folder, dataset, checkpoint, **settings):
  """Returns dataset and networks of a comparison."""
  config = StudyConfig(
    dataset=f'npz:{dataset}',
    teacher=NAME,
    student=NAME,
    teacher_checkpoint=checkpoint,
    method=methods.create('kd'),
    recipe=Recipe(epochs=1, batch_size=6),
    **settings,
  )
  session = Session(
    workdir=epath.Path(folder),
    devices=all_devices(),
    request=StopRequest(),
    progress=Progress(enabled=False),
  )
  return Comparison(config, session).setup


@pytest.mark.parametrize('format_', FORMATS)
def test_comparison_loads_its_teacher_from_every_format(
  tmp_path, dataset, variables, format_
):
  path = tmp_path / 'checkpoint'
  about = {'mean': [0.25], 'std': [0.5]}
  write_checkpoint(format_, path, variables, about)
  setup = comparison(tmp_path / 'work', dataset, path)
  teacher = obtain(setup)
  assert all(
    jax.tree.leaves(jax.tree.map(np.array_equal, teacher.variables, variables))
  )
  run = tmp_path / 'work' / 'runs' / 'teacher' / 'seed0'
  config = json.loads((run / 'config.json').read_text())
  assert config['num_classes'] == CLASSES
  assert config['image_shape'] == list(SHAPE)
  # A run has the normalization constants of its images; a bare file has not.
  said = (config['mean'], config['std']) == ([0.25], [0.5])
  assert said == (format_ == 'run')
  assert setup.teacher.mean == tuple(config['mean'])
  assert setup.student.mean == setup.dataset.mean


def test_comparisons_evaluate_a_teacher_once(
  tmp_path, dataset, variables, monkeypatch
):
  path, own = tmp_path / 'checkpoint', tmp_path / 'data.npz'
  write_checkpoint('safetensors', path, variables, {})
  shutil.copy(dataset, own)
  obtain(comparison(tmp_path / 'first', own, path))

  def evaluate(run, variables):
    raise AssertionError('evaluated again')

  monkeypatch.setattr(teacher_lib, '_evaluate', evaluate)
  often = RunSettings(evaluate_every=2)
  obtain(comparison(tmp_path / 'second', own, path, settings=often))
  first, second = (
    tmp_path / name / 'runs' / 'teacher' / 'seed0'
    for name in ('first', 'second')
  )
  for name in ('metrics.jsonl', 'features.npz'):
    assert (first / name).read_bytes() == (second / name).read_bytes()
  # Different images with the same file name.
  arrays = {}
  with np.load(own) as stored:
    arrays.update(stored)
  arrays['x_test'] = arrays['x_test'][::-1]
  np.savez(own, **arrays)
  with pytest.raises(AssertionError, match='evaluated again'):
    obtain(comparison(tmp_path / 'third', own, path))


def test_comparison_rejects_weights_of_another_teacher(
  tmp_path, dataset, variables
):
  path = tmp_path / 'half.npz'
  arrays = torch_layout.to_torch(variables, names.rules_of(NAME))
  del arrays['fc.weight']
  np.savez(path, **arrays)
  with pytest.raises(ValueError, match=r'missing     fc\.weight'):
    obtain(comparison(tmp_path / 'work', dataset, path))
  setup = comparison(tmp_path / 'work', dataset, path, allow_partial=True)
  got = obtain(setup).variables['params']
  start = setup.teacher.initialize(jax.random.key(0), SHAPE)['params']
  np.testing.assert_array_equal(got['head']['kernel'], start['head']['kernel'])
  np.testing.assert_array_equal(
    got['stage_0']['conv_0']['kernel'],
    variables['params']['stage_0']['conv_0']['kernel'],
  )


def test_allow_partial_requires_a_teacher_checkpoint(tmp_path, dataset):
  with pytest.raises(ValueError, match='allow_partial is about'):
    comparison(tmp_path, dataset, None, allow_partial=True)


@pytest.mark.slow
def test_student_of_a_pytorch_teacher_is_exported_to_pytorch(
  tmp_path, dataset, variables
):
  path = tmp_path / 'teacher.pth'
  path.write_bytes(torch_content(torch_writer.legacy, variables))
  flags = [
    '--method=kd',
    f'--dataset=npz:{dataset}',
    f'--teacher_checkpoint={path}',
    f'--workdir={tmp_path / "work"}',
    *(f'--teacher={NAME}', f'--student={NAME}'),
    *('--teacher_mean', '0.25', '--teacher_std', '0.5'),
    *('--epochs=1', '--batch_size=6'),
  ]
  assert cifar_command.COMMAND.main(flags) == 0
  run = tmp_path / 'work' / 'runs' / 'kd' / 'seed0'
  assert export.main([f'--run={run}', '--format=safetensors_torch']) == 0
  result = teachers.evaluate(
    teachers.Evaluate(
      checkpoint=run / 'export' / 'student_torch.safetensors',
      dataset=f'npz:{dataset}',
    )
  )
  lines = (run / 'metrics.jsonl').read_text().splitlines()
  end = json.loads(lines[-1])
  assert end['kind'] == 'end'
  assert result['correct'] == end['correct']


# Of all 10,000 test images, from the README of the teachers.
CORRECT = {
  'cifar10_resnet20': 9173,
  'cifar10_resnet32': 9263,
  'cifar10_resnet56': 9339,
  'cifar100_resnet8': 6411,
  'cifar100_resnet20': 6969,
  'cifar100_resnet32': 7169,
}


@pytest.fixture(scope='module')
def cifar_folder(tmp_path_factory):
  """All real test images, and some training images."""
  folder = tmp_path_factory.mktemp('cifar')
  for name, make in (
    ('cifar10', cifar.cifar10_first5000),
    ('cifar100', cifar.cifar100),
  ):
    cifar.write_npz(make(), folder / f'{name}.npz')
  return folder


@needs_shared
@pytest.mark.slow
@pytest.mark.parametrize('name', CORRECT)
def test_real_teachers_have_their_published_accuracy(
  cifar_folder, capsys, name
):
  assert (
    evaluate(
      f'--checkpoint={SHARED / "data/teachers" / f"{name}.npz"}',
      f'--network={name}',
      f'--dataset=npz:{cifar_folder / name.split("_")[0]}.npz',
    )
    == 0
  )
  assert f'{CORRECT[name]} of 10000 images' in capsys.readouterr().out


def test_stored_results_match_and_bfloat16_is_close():
  path = pathlib.Path(__file__).parents[2] / 'results' / 'teachers.json'
  correct = {
    (row['network'], row['precision']): row['correct']
    for row in json.loads(path.read_text())['rows']
  }
  for name, count in CORRECT.items():
    assert correct[name, 'float32'] == count
    assert abs(correct[name, 'bfloat16'] - count) <= 10  # 0.1 point
