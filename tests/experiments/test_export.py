"""Students exported in every format, loaded again and compared."""

import json

import jax
import numpy as np
import pytest
import safetensors.numpy

from experiments import export
from kdjax import convert, models
from kdjax.runtime.checkpoints import save_variables

ABOUT = {
  'network': 'resnet8',
  'num_classes': 5,
  'image_shape': [16, 16, 3],
  'mean': [0.5, 0.4, 0.3],
  'std': [0.2, 0.3, 0.4],
  'precision': 'float32',
  'method': {'type': 'Kd2m', 'weight': 1.0},
}


@pytest.fixture(scope='module')
def network():
  mean, std = tuple(ABOUT['mean']), tuple(ABOUT['std'])
  return models.create('resnet8', num_classes=5, mean=mean, std=std)


@pytest.fixture(scope='module')
def variables(network):
  made = network.initialize(jax.random.key(0), (16, 16, 3))
  # Random running statistics, because initial ones are zeros and ones.
  keys = iter(jax.random.split(jax.random.key(1), 100))
  return {
    **made,
    'batch_stats': jax.tree.map(
      lambda x: jax.random.uniform(next(keys), x.shape, x.dtype, 0.5, 1.0),
      made['batch_stats'],
    ),
  }


@pytest.fixture(scope='module')
def run(tmp_path_factory, variables):
  folder = tmp_path_factory.mktemp('run')
  (folder / 'config.json').write_text(json.dumps(ABOUT))
  save_variables(folder / 'student', variables)
  return folder


@pytest.fixture(scope='module')
def images():
  return jax.random.uniform(jax.random.key(2), (3, 16, 16, 3))


@pytest.fixture(scope='module')
def logits(network, variables, images):
  return network.apply(variables, images, train=False)[0].logits


def exported_file(run, tmp_path, format_):
  output = tmp_path / 'out'
  assert (
    export.main([f'--run={run}', f'--format={format_}', f'--output={output}'])
    == 0
  )
  return output


@pytest.mark.parametrize(
  'format_', ['safetensors', 'safetensors_torch', 'orbax']
)
def test_export_round_trip_is_bit_identical(
  run, tmp_path, network, variables, format_
):
  output = exported_file(run, tmp_path, format_)
  template = network.describe((16, 16, 3)).variables
  got = convert.load(output, template, network='resnet8')
  assert jax.tree.structure(got) == jax.tree.structure(variables)
  assert all(jax.tree.leaves(jax.tree.map(np.array_equal, got, variables)))


def test_safetensors_has_the_normalization_constants(run, tmp_path, network):
  output = exported_file(run, tmp_path, 'safetensors_torch')
  default = convert.Normalization((0.0,) * 3, (1.0,) * 3)
  got = convert.normalization(output, 'resnet8', default=default)
  assert got == (network.mean, network.std)


def test_stablehlo_matches_the_network(run, tmp_path, images, logits):
  program = jax.export.deserialize(
    exported_file(run, tmp_path, 'stablehlo').read_bytes()
  )
  np.testing.assert_allclose(program.call(images), logits, rtol=1e-5, atol=1e-6)


def test_exported_network_keeps_its_pooling(variables, images, tmp_path):
  about = {**ABOUT, 'pooling': 'gmp'}
  (tmp_path / 'config.json').write_text(json.dumps(about))
  save_variables(tmp_path / 'student', variables)
  file = export.export(export.Config(run=tmp_path, format='stablehlo'))
  program = jax.export.deserialize(bytearray(file.read_bytes()))
  mean, std = tuple(ABOUT['mean']), tuple(ABOUT['std'])
  options = {'mean': mean, 'std': std, 'pooling': 'gmp'}
  network = models.create('resnet8', num_classes=5, **options)
  want = network.apply(variables, images, train=False)[0].logits
  np.testing.assert_allclose(program.call(images), want, rtol=1e-5, atol=1e-6)


def test_pytorch_loads_the_exported_weights(run, tmp_path, images, logits):
  torch = pytest.importorskip('torch', reason='PyTorch is not installed')
  module = torch_resnet8(torch, num_classes=5)
  state = safetensors.numpy.load_file(
    exported_file(run, tmp_path, 'safetensors_torch')
  )
  module.load_state_dict(  # strict
    {name: torch.tensor(array) for name, array in state.items()}
  )
  module.eval()
  pixels = (np.asarray(images) - ABOUT['mean']) / ABOUT['std']
  with torch.no_grad():
    got = module(torch.tensor(pixels.transpose(0, 3, 1, 2)).float())
  np.testing.assert_allclose(got.numpy(), logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
  ('format_', 'name'),
  [('safetensors', 'student.safetensors'), ('orbax', 'student_orbax')],
)
def test_default_output_path(run, capsys, format_, name):
  assert export.main([f'--run={run}', f'--format={format_}']) == 0
  place = run / 'export' / name
  assert capsys.readouterr().out.strip() == str(place)
  assert place.exists()


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'network': 'resnet9'}, 'resnet9'),
    ({'num_classes': 6}, 'does not fit resnet8'),
    ({'mean': None}, 'no mean in a config.json'),
    ({'mean': 0.5}, "cannot be right: {'mean': 0.5}"),
    ({'network': ['resnet8']}, "cannot be right: {'network'"),
    ({'precision': 'half'}, "cannot be right: {'precision': 'half'}"),
  ],
)
def test_invalid_runs_give_an_error(
  tmp_path, variables, capsys, change, message
):
  about = {**ABOUT, **change}
  about = {name: value for name, value in about.items() if value is not None}
  (tmp_path / 'config.json').write_text(json.dumps(about))
  save_variables(tmp_path / 'student', variables)
  assert export.main([f'--run={tmp_path}']) == 2
  assert message in capsys.readouterr().err


def test_library_without_the_network_gives_an_error(run, capsys):
  assert export.main([f'--run={run}', '--format=safetensors_timm']) == 2
  assert "No names of timm are known for 'resnet8'" in capsys.readouterr().err


def test_work_folder_error_lists_its_runs(tmp_path, capsys):
  (tmp_path / 'runs' / 'kd2m' / 'seed0').mkdir(parents=True)
  assert export.main([f'--run={tmp_path}']) == 2
  assert 'It holds the runs' in capsys.readouterr().err


def test_unfinished_run_gives_an_error(tmp_path, capsys):
  (tmp_path / 'config.json').write_text(json.dumps(ABOUT))
  assert export.main([f'--run={tmp_path}']) == 2
  assert 'has not ended' in capsys.readouterr().err


def test_student_that_predicts_through_its_method_raises_an_error(
  run, tmp_path, monkeypatch
):
  class Reader(export.Method):
    def predicting(self, variables, student, teacher):
      return student

  monkeypatch.setitem(export.methods.METHODS, 'reader', Reader)
  (tmp_path / 'student').mkdir()
  nested = {'type': 'kd2m+reader', 'reader': {'type': 'Reader'}}
  (tmp_path / 'config.json').write_text(json.dumps({**ABOUT, 'method': nested}))
  with pytest.raises(ValueError, match='Reader predicts through parts'):
    export.export(export.Config(run=tmp_path))


def torch_resnet8(torch, num_classes: int):
  """Returns RepDistiller's CIFAR ResNet with one block per stage."""
  nn = torch.nn

  class Block(nn.Module):
    def __init__(self, inputs, width, stride):
      super().__init__()
      self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
      self.bn1 = nn.BatchNorm2d(width)
      self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
      self.bn2 = nn.BatchNorm2d(width)
      self.downsample = None
      if stride != 1 or inputs != width:
        self.downsample = nn.Sequential(
          nn.Conv2d(inputs, width, 1, stride, bias=False),
          nn.BatchNorm2d(width),
        )

    def forward(self, x):
      short = x if self.downsample is None else self.downsample(x)
      hidden = torch.relu(self.bn1(self.conv1(x)))
      return torch.relu(self.bn2(self.conv2(hidden)) + short)

  class ResNet8(nn.Module):
    def __init__(self):
      super().__init__()
      self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
      self.bn1 = nn.BatchNorm2d(16)
      self.layer1 = nn.Sequential(Block(16, 16, 1))
      self.layer2 = nn.Sequential(Block(16, 32, 2))
      self.layer3 = nn.Sequential(Block(32, 64, 2))
      self.fc = nn.Linear(64, num_classes)

    def forward(self, x):
      x = torch.relu(self.bn1(self.conv1(x)))
      x = self.layer3(self.layer2(self.layer1(x)))
      return self.fc(x.mean(dim=(2, 3)))

  return ResNet8()


def test_existing_files_that_are_no_exports_are_kept(run, tmp_path, capsys):
  folder = tmp_path / 'mine'
  folder.mkdir()
  (folder / '_METADATA').write_text('{}')
  (folder / 'thesis.txt').write_text('x')
  flags = [f'--run={run}', '--format=orbax', f'--output={folder}']
  assert export.main(flags) == 2
  assert 'is not a folder of an export' in capsys.readouterr().err
  assert (folder / 'thesis.txt').exists()
  log = tmp_path / 'metrics.jsonl'
  log.write_text('{}')
  assert export.main([f'--run={run}', f'--output={log}']) == 2
  assert log.read_text() == '{}'


def test_orbax_folder_is_exported_again(run, tmp_path, capsys):
  flags = [f'--run={run}', '--format=orbax', f'--output={tmp_path / "out"}']
  assert export.main(flags) == 0
  assert export.main(flags) == 0
