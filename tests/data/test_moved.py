"""A dataset that was moved is the same; another one at its path is not."""

import json

import pytest

from kdjax.runtime.run_folder import check_config
from tests.experiments import commands
from tests.train import support


def write(folder, **config):
  (folder / 'config.json').write_text(json.dumps(config))


@pytest.mark.parametrize(
  ('was', 'now', 'same'),
  [
    ('folder:/a/b', 'folder:c', True),
    ('npz:/a.npz', 'npz:~/b.npz', True),
    ('folder:/a', 'npz:/a', False),
    ('cifar10', 'cifar100', False),
    ('cifar10', 'folder:cifar10', False),
  ],
)
def test_the_path_of_a_dataset_is_no_setting(tmp_path, was, now, same):
  write(tmp_path, config={'dataset': was, 'data_dir': '/x'})
  about = {'config': {'dataset': now, 'data_dir': '/y'}}
  if same:
    check_config(tmp_path, about)
  else:
    with pytest.raises(ValueError, match='dataset: was'):
      check_config(tmp_path, about)


def test_contents_are_compared(tmp_path):
  write(tmp_path, dataset='folder:/a', data='1234')
  with pytest.raises(ValueError, match="data: was '1234', now '5678'"):
    check_config(tmp_path, {'dataset': 'folder:/a', 'data': '5678'})


@pytest.mark.slow
def test_a_moved_dataset_is_resumed(tmp_path, monkeypatch, capsys):
  monkeypatch.setenv('KDJAX_CACHE', str(tmp_path / 'cache'))
  workdir = tmp_path / 'work'
  flags = (*commands.SMALL, '--epochs=1', f'--workdir={workdir}')
  name = commands.write_npz(tmp_path / 'old')
  assert commands.cifar(f'--dataset={name}', *flags) == 0
  logs = sorted(workdir.glob('runs/*/*/metrics.jsonl'))
  assert len(logs) == 3
  before = [log.read_text() for log in logs]
  (tmp_path / 'old').rename(tmp_path / 'new')
  moved = f'--dataset=npz:{tmp_path}/new/toy.npz'
  assert commands.cifar(moved, *flags, '--resume') == 0
  assert [log.read_text() for log in logs] == before

  images, _ = support.arrays(24, 1)
  other = commands.write_npz(tmp_path / 'other', x_train=255 - images)
  capsys.readouterr()
  assert commands.cifar(f'--dataset={other}', *flags, '--resume') == 2
  assert 'data: was' in capsys.readouterr().err
  assert [log.read_text() for log in logs] == before
