"""A run's configuration that was edited: one line from whatever reads it."""

import json

import jax
import numpy as np
import pytest

from experiments import export, transfer
from kdjax import models
from kdjax.runtime.checkpoints import save_variables
from kdjax.studies.run_config import read_run_config
from kdjax.studies.trained import load_trained

ABOUT = {
  'network': 'convnet_4_8',
  'num_classes': 3,
  'image_shape': [8, 8, 1],
  'mean': [0.5],
  'std': [0.2],
  'precision': 'float32',
  'arm': 'kd',
  'seed': 0,
  'method': {'type': 'Kd', 'weight': 1.0},
}


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  folder = tmp_path_factory.mktemp('run')
  network = models.create('convnet_4_8', num_classes=3)
  variables = network.describe((8, 8, 1)).variables
  ones = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), variables)
  save_variables(folder / 'student', ones)
  return folder


@pytest.fixture
def edited(run):
  def edit(content):
    text = content if isinstance(content, str) else json.dumps(content)
    (run / 'config.json').write_text(text)
    return run

  return edit


WRONG = [
  {'num_classes': 0},
  {'num_classes': -3},
  {'num_classes': 10**12},
  {'num_classes': True},
  {'num_classes': '3'},
  {'image_shape': []},
  {'image_shape': [8, 8]},
  {'image_shape': [8, 0, 1]},
  {'image_shape': [10**6, 10**6, 1]},
  {'image_shape': 'x'},
  {'mean': []},
  {'mean': [0.5, 0.5]},
  {'mean': [float('nan')]},
  {'std': [0.0]},
  {'std': ['a']},
  {'precision': 'float16'},
  {'network': 5},
  {'network': 'no_network'},
  {'method': 7},
  {'method': {'type': 'Kd', 'weight': 'abc'}},
  {'method': {'type': 'Kd', 'weight': -1}},
  {'method': {'type': 'Kd', 'wait': 1}},
  {'pooling': 5},
]


def test_the_right_one_is_read(edited):
  run = edited(ABOUT)
  assert read_run_config(run) == ABOUT
  assert load_trained(run).network.name == 'convnet_4_8'


@pytest.mark.parametrize('change', WRONG)
def test_an_entry_that_cannot_be_is_one_line(edited, capsys, change):
  run = edited({**ABOUT, **change})
  with pytest.raises(ValueError, match=r'config\.json') as error:
    load_trained(run)
  assert str(run) in str(error.value)
  assert '\n' not in str(error.value)
  assert export.main([f'--run={run}']) == 2
  (said,) = capsys.readouterr().err.strip().splitlines()
  assert said.startswith('error: ')


@pytest.mark.parametrize('name', ['network', 'num_classes', 'std', 'precision'])
def test_a_missing_entry_is_named(edited, capsys, name):
  run = edited({key: value for key, value in ABOUT.items() if key != name})
  with pytest.raises(ValueError, match=f'no {name} in a config.json'):
    load_trained(run)
  assert export.main([f'--run={run}']) == 2
  assert f'no {name} in a config.json' in capsys.readouterr().err


@pytest.mark.parametrize('content', ['', '[]', '{', '[' * 100_000, '\x00'])
def test_a_file_that_is_no_json_object_is_named(edited, capsys, content):
  run = edited(content)
  assert export.main([f'--run={run}']) == 2
  said = capsys.readouterr().err
  assert str(run) in said
  assert 'Traceback' not in said
  with pytest.raises(ValueError, match=r'config\.json'):
    load_trained(run)


@pytest.mark.parametrize(
  'change', [*({'arm': arm} for arm in ('..', 'a/b', '', 'a b', 'x' * 300))]
)
def test_an_arm_that_is_no_name_makes_no_folder(
  edited, capsys, change, tmp_path
):
  run = edited({**ABOUT, **change})
  flags = [f'--run={run}', '--dataset=digits', f'--workdir={tmp_path}/w']
  assert transfer.COMMAND.main(flags) == 2
  assert 'names a folder of runs' in capsys.readouterr().err
  assert not (tmp_path / 'w').exists()


@pytest.mark.parametrize('name', ['..', '.', 'a/b', '/etc', '', 'a b', '$x'])
def test_names_in_tables_are_checked(edited, capsys, name, tmp_path):
  run = edited(ABOUT)
  flags = [f'--run={run}', '--dataset=digits', f'--workdir={tmp_path}/w']
  assert transfer.COMMAND.main([*flags, '--names', name]) == 2
  assert 'names a folder of runs' in capsys.readouterr().err
  assert not (tmp_path / 'w').exists()
