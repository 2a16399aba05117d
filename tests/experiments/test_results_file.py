"""`experiments.teachers --json` and `experiments.export --output`."""

import json
import os
import pathlib

import pytest

from experiments import export, teachers


def row(**values):
  return {
    'network': 'n',
    'checkpoint': 'c',
    'test_set': 't',
    'precision': 'float32',
    'correct': 1,
    'images_per_second': 5.0,
    **values,
  }


def test_results_of_other_evaluations_stay(tmp_path):
  path = tmp_path / 'x.json'
  teachers._add_result(path, row())
  teachers._add_result(path, row(network='m'))
  teachers._add_result(path, row(correct=2))
  rows = json.loads(path.read_text())['rows']
  assert [(one['network'], one['correct']) for one in rows] == [
    ('m', 1),
    ('n', 2),
  ]


@pytest.mark.parametrize(
  'content',
  [
    '{}',
    '[]',
    'notes',
    '{"rows": 5}',
    '{"rows": [5]}',
    '{"rows": [{}]}',
    '{"rows": [], "mine": 1}',
  ],
)
def test_a_file_of_other_content_is_kept(tmp_path, capsys, content):
  path = tmp_path / 'x.json'
  path.write_text(content)
  status = teachers.main(
    ['evaluate', '--checkpoint=missing', '--dataset=digits', f'--json={path}']
  )
  assert status == 2
  said = capsys.readouterr().err
  assert str(path) in said
  assert 'missing' not in said  # found before anything is loaded
  assert path.read_text() == content


@pytest.mark.parametrize('flag', ['--json=/dev/full', '--json={}/folder'])
def test_what_is_no_file_is_kept(tmp_path, capsys, flag):
  (tmp_path / 'folder').mkdir()
  status = teachers.main(
    ['evaluate', '--checkpoint=c', flag.format(tmp_path), '--dataset=digits']
  )
  assert status == 2
  assert 'is kept' in capsys.readouterr().err


@pytest.mark.parametrize(
  'format_', ['safetensors', 'safetensors_torch', 'stablehlo', 'orbax']
)
def test_an_export_replaces_no_device(tmp_path, capsys, format_):
  before = os.stat('/dev/full')
  flags = ['--run=missing', f'--format={format_}', '--output=/dev/full']
  assert export.main(flags) == 2
  said = capsys.readouterr().err
  assert '/dev/full' in said
  assert 'missing' not in said
  assert os.stat('/dev/full') == before


def test_home_is_expanded(monkeypatch, tmp_path, capsys):
  monkeypatch.setenv('HOME', str(tmp_path))
  monkeypatch.chdir(tmp_path)
  assert export.main(['--run=~/r', '--output=~/x']) == 2
  assert str(tmp_path / 'r') in capsys.readouterr().err
  assert not pathlib.Path('~').exists()
