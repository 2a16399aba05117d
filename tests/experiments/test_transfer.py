"""Probes of small networks: protocol, table, resumption and mistakes."""

import json
import pathlib

import jax
import numpy as np
import pytest
from etils import epath

from experiments import transfer
from kdjax import convert, models
from kdjax.runtime import files
from kdjax.runtime.checkpoints import save_variables
from kdjax.runtime.mesh import all_devices
from kdjax.runtime.progress import Progress
from kdjax.runtime.signals import Interrupted, StopRequest
from kdjax.studies import Session, Transfer
from tests.experiments import commands
from tests.train import support

NAME = 'convnet_4_8'
ABOUT = {
  'arm': 'kd',
  'role': 'distilled',
  'seed': 0,
  'network': NAME,
  'num_classes': 5,
  'image_shape': [4, 4, 1],
}
SMALL = ('--epochs=2', '--batch_size=8')


def parse(*given):
  return transfer.COMMAND.parse(given).config


def write_run(folder: pathlib.Path, **changes) -> pathlib.Path:
  """Writes a finished run with other images and classes."""
  about = {**ABOUT, **changes}
  network = models.create(about['network'], num_classes=5)
  key = jax.random.key(about['seed'] + 100)
  variables = network.initialize(key, (4, 4, 1))
  save_variables(folder / 'student', variables)
  (folder / 'config.json').write_text(json.dumps(about))
  return folder


@pytest.fixture(scope='module')
def module_dir(tmp_path_factory):
  return tmp_path_factory.mktemp('transfer')


@pytest.fixture(scope='module')
def work(module_dir):
  """Work folder of a comparison with two seeds and a teacher."""
  for arm, role in (('student', 'student'), ('kd', 'distilled')):
    for seed in (0, 1):
      folder = module_dir / 'work' / 'runs' / arm / f'seed{seed}'
      folder.mkdir(parents=True)
      write_run(folder, arm=arm, role=role, seed=seed)
  folder = module_dir / 'work' / 'runs' / 'teacher' / 'seed0'
  folder.mkdir(parents=True)
  (folder / 'config.json').write_text(json.dumps({**ABOUT, 'arm': 'teacher'}))
  return module_dir / 'work'


@pytest.fixture(scope='module')
def dataset(module_dir):
  return f'--dataset={commands.write_npz(module_dir / "data")}'


def test_defaults_are_the_published_protocol():
  config = parse('--run=r')
  recipe = config.recipe
  assert (recipe.epochs, recipe.batch_size) == (120, 64)
  assert (recipe.momentum, recipe.weight_decay) == (0.9, 5e-4)
  assert not recipe.nesterov
  for network, first in (
    ('wrn_16_2', 0.05),
    ('resnet8x4', 0.05),
    ('vgg8', 0.05),
    ('MobileNetV2', 0.01),
    ('ShuffleV1', 0.01),
    ('ShuffleV2', 0.01),
  ):
    rates = [
      float(config.recipe_of(network).learning_rate_at(epoch))
      for epoch in (0, 29, 30, 59, 60, 89, 90, 119)
    ]
    want = first * 0.1 ** np.repeat(np.arange(4), 2)
    np.testing.assert_allclose(rates, want, rtol=1e-5)
  assert config.dataset == 'stl10'
  assert config.bn == 'adapt'


def test_shorter_probes_decay_at_the_same_fractions():
  recipe = parse('--run=r', '--epochs=12').recipe
  rates = [float(recipe.learning_rate_at(epoch)) for epoch in (2, 3, 6, 9)]
  np.testing.assert_allclose(rates, [0.05, 0.005, 5e-4, 5e-5], rtol=1e-5)


def test_runs_and_seeds_are_parsed():
  config = parse('--run', 'a', 'b', '--seeds=1,2', '--bn=frozen')
  assert config.run == (pathlib.Path('a'), pathlib.Path('b'))
  assert config.seeds == (1, 2)
  assert config.title == 'stl10-frozen'


@pytest.fixture(scope='module', params=['adapt', 'frozen'])
def probed(request, module_dir, work, dataset, compiled_once):
  """Work folder of a successful command."""
  folder = module_dir / request.param
  flags = (f'--run={work}', dataset, *SMALL, f'--bn={request.param}')
  assert transfer.COMMAND.main([*flags, f'--workdir={folder}']) == 0
  return folder, request.param


@pytest.mark.slow
def test_command_writes_a_table_of_all_students(probed):
  folder, _ = probed
  rows = json.loads((folder / 'report' / 'summary.json').read_text())['arms']
  assert [(row['arm'], row['accuracy']['count']) for row in rows] == [
    ('student', 2),
    ('kd', 2),
  ]
  assert rows[1]['difference']['count'] == 2  # paired by seed
  command_line = json.loads((folder / 'config.json').read_text())['command']
  assert command_line == 'experiments.transfer'


@pytest.mark.slow
def test_only_classifier_and_adapted_statistics_change(probed, work):
  folder, bn = probed
  for run in work.glob('runs/*/seed*/student'):
    before = commands.student(run.parent)
    after = commands.student(folder / run.parent.relative_to(work))
    assert after['params']['head']['kernel'].shape == (8, 3)
    assert before['params']['head']['kernel'].shape == (8, 5)
    for variables in (before, after):
      del variables['params']['head']
    support.identical(before['params'], after['params'])
    same = jax.tree.map(
      np.array_equal, before['batch_stats'], after['batch_stats']
    )
    assert set(jax.tree.leaves(same)) == {bn == 'frozen'}


@pytest.mark.slow
def test_reported_accuracy_is_that_of_the_last_epoch(probed):
  folder, _ = probed
  for run in folder.glob('runs/*/*'):
    lines = commands.lines(run)
    last = [line for line in lines if line['kind'] == 'eval'][-1]
    assert last['epoch'] == 2
    assert lines[-1]['accuracy'] == last['accuracy']


class StopAfter(StopRequest):
  """Requests a stop after it was read `looks` times."""

  def __init__(self, looks):
    self.looks = looks

  @property
  def asked(self):
    self.looks -= 1
    return self.looks < 0


@pytest.mark.slow
@pytest.mark.parametrize('looks', [0, 3])
def test_resumed_probes_are_bit_identical(
  tmp_path, probed, work, dataset, looks
):
  folder, bn = probed
  config = parse(f'--run={work}', dataset, *SMALL, f'--bn={bn}')

  def run_transfer(request):
    session = Session(
      workdir=epath.Path(tmp_path),
      devices=all_devices(),
      request=request,
      progress=Progress(enabled=False),
    )
    Transfer(config, session).run()

  with pytest.raises(Interrupted):
    run_transfer(StopAfter(looks))
  run_transfer(StopRequest())
  commands.same_result(folder, tmp_path)


@pytest.mark.slow
def test_weight_file_is_probed_with_several_seeds(tmp_path, work, dataset):
  network = models.create(NAME, num_classes=5)
  path = tmp_path / 'net.safetensors'
  run = work / 'runs' / 'kd' / 'seed0'
  template = network.describe((4, 4, 1)).variables
  convert.save_safetensors(path, convert.load(run, template))
  flags = (f'--run={path}', f'--network={NAME}', dataset, *SMALL)
  small = ('--image_size=4', '--seeds=3,4', '--names=ours')
  assert transfer.COMMAND.main([*flags, *small, f'--workdir={tmp_path}/w']) == 0
  runs = [
    files.read_lines(tmp_path / f'w/runs/ours/seed{k}/metrics.jsonl')
    for k in (3, 4)
  ]
  assert runs[0][0]['loss'] != runs[1][0]['loss']


@pytest.fixture
def fails(capsys, tmp_path, dataset):
  """Runs a command that must fail; returns its message."""

  def run(*flags):
    flags = [dataset, *SMALL, f'--workdir={tmp_path}/w', *map(str, flags)]
    try:
      status = transfer.COMMAND.main(flags)
    except SystemExit as stop:
      status = stop.code
    assert status == 2
    assert not (tmp_path / 'w' / 'runs').exists()  # before any training
    said = capsys.readouterr().err
    assert 'Traceback' not in said
    return ' '.join(said.replace('│', ' ').split())

  return run


@pytest.mark.parametrize(
  ('flags', 'why'),
  [
    ([], 'There is no network to probe; give --run=FOLDER'),
    (['--run=nowhere'], '--run=nowhere does not exist'),
    (['--run=a', '--bn=eval'], 'eval'),
    (['--run=a', '--seeds=1,1'], 'seeds must be different'),
    (['--run=a', '--image_size=0'], 'image_size must be at least 1, got 0'),
    (['--run=a', '--limit=-1'], 'limit must be at least 1, got -1'),
    (['--run=a', '--network=resnet21'], "Unknown network 'resnet21'"),
    (
      ['--run=a', '--mobile_learning_rate=0'],
      'learning_rate must be positive, got 0.0',
    ),
    (['--run=a', '--names=x,y'], '--names has 2 names for 1 runs'),
  ],
)
def test_invalid_flag_value_is_named_in_the_error(fails, flags, why):
  assert why in fails(*flags)


@pytest.mark.parametrize(
  ('change', 'why'),
  [
    ({'network': None}, 'does not say of which network it is; give --network'),
    ({'network': 'resnet_8'}, "Unknown network 'resnet_8'; did you mean"),
    ({'network': 7}, "says cannot be right: {'network': 7}"),
    ({'seed': 'x'}, "says cannot be right: {'seed': 'x'}"),
    ({'arm': '../x'}, 'names a folder of runs'),
    ({'image_shape': [4, 4]}, "cannot be right: {'image_shape': [4, 4]}"),
    ({'image_shape': [4, 4, 3]}, 'takes images of 3 channels, those of'),
    ({'network': 'convnet_8_16'}, 'does not fit convnet_8_16'),
  ],
)
def test_invalid_run_config_gives_an_error(fails, tmp_path, change, why):
  folder = write_run(tmp_path)
  (folder / 'config.json').write_text(json.dumps({**ABOUT, **change}))
  said = fails(f'--run={folder}')
  assert why in said
  assert str(folder) in said


def test_unfinished_run_gives_an_error(fails, tmp_path):
  (tmp_path / 'config.json').write_text(json.dumps(ABOUT))
  assert 'holds no student/: the run has not ended' in fails(
    f'--run={tmp_path}'
  )


def test_config_that_is_not_json_gives_an_error(fails, tmp_path):
  (write_run(tmp_path) / 'config.json').write_text('{')
  assert 'is not readable JSON' in fails(f'--run={tmp_path}')


def test_work_folder_without_finished_runs_gives_an_error(fails, tmp_path):
  (tmp_path / 'a' / 'runs' / 'kd' / 'seed0').mkdir(parents=True)
  said = fails(f'--run={tmp_path / "a"}')
  assert 'holds no run that has ended' in said
  assert 'it holds 1 that have not' in said


def test_unrelated_folder_gives_an_error(fails, tmp_path):
  (tmp_path / 'a').mkdir()
  said = fails(f'--run={tmp_path / "a"}', f'--network={NAME}')
  assert 'neither a run folder nor an orbax folder' in said


def test_networks_with_the_same_name_give_an_error(fails, work):
  run = work / 'runs' / 'kd' / 'seed0'
  said = fails('--run', run, work / 'runs' / 'kd' / 'seed0')
  assert 'would both be kd, seed 0, in the table' in said
  assert '--names' in said


def test_networks_with_different_image_sizes_give_an_error(
  fails, tmp_path, work
):
  other = tmp_path / 'other'
  other.mkdir()
  write_run(other, image_shape=[8, 8, 1])
  said = fails('--run', work, other, '--names=a,b')
  assert 'trained on images of several sizes' in said
  assert 'Give --image_size=PIXELS' in said
