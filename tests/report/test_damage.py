"""Reports of damaged logs, and of arms with odd names."""

import json
import os
import shutil

import pytest

from kdjax import report
from kdjax.report import tables
from tests.report.synthetic import write_study


def notes(study):
  return '\n'.join(report.read_study(study).notes)


def log_of(study, arm='kd', seed=0):
  return study / 'runs' / arm / f'seed{seed}' / 'metrics.jsonl'


@pytest.fixture
def study(tmp_path):
  return write_study(tmp_path, features=False)


def test_missing_lines_in_the_middle_are_named(study):
  path = log_of(study)
  lines = path.read_text().splitlines(keepends=True)
  kept = [
    line
    for line in lines
    if not (json.loads(line).get('epoch') in (3, 7, 8, 9) and '"train"' in line)
  ]
  path.write_text(''.join(kept))
  said = 'runs/kd/seed0/metrics.jsonl: no line of training of epochs 3, 7-9.'
  assert said in notes(study)


def test_missing_evaluations_are_named(study):
  config = study / 'runs' / 'kd' / 'seed0' / 'config.json'
  about = json.loads(config.read_text())
  config.write_text(json.dumps({**about, 'settings': {'evaluate_every': 5}}))
  assert 'evaluation' not in notes(study)
  path = log_of(study)
  lines = path.read_text().splitlines(keepends=True)
  gone = [x for x in lines if '"eval"' in x and json.loads(x)['epoch'] == 10]
  path.write_text(''.join(x for x in lines if x not in gone))
  assert 'no evaluation of epoch 10.' in notes(study)


def test_a_torn_line_in_the_middle_is_named(study):
  path = log_of(study)
  lines = path.read_text().splitlines(keepends=True)
  lines[4] = lines[4][:9] + '\n'
  path.write_text(''.join(lines))
  said = notes(study)
  assert 'runs/kd/seed0/metrics.jsonl: skipped unreadable lines 5.' in said
  assert 'no line of training of epoch' in said
  page = report.write(study).read_text('utf-8')
  assert 'skipped unreadable lines 5' in page


@pytest.mark.parametrize(
  'change',
  [
    {'accuracy': 'high'},
    {'accuracy': None},
    {'accuracy': float('nan')},
    {'seconds': [1]},
    {'parameters': 'many'},
    {'best_accuracy': {}},
    {'images_per_second': float('inf')},
    {'kind': 5},
  ],
)
def test_an_entry_that_is_no_number_is_left_out(study, change):
  path = log_of(study)
  *lines, end = path.read_text().splitlines(keepends=True)
  path.write_text(''.join([*lines, json.dumps({**json.loads(end), **change})]))
  page = report.write(study)
  assert page.exists()
  if change.get('accuracy', 0) != 0 and change['accuracy'] is not None:
    assert 'left out accuracy of a line of kind' in notes(study)


@pytest.mark.parametrize(
  'content',
  [
    '[]',
    '{"role": 5, "network": [1], "score": 3}',
    '{"settings": 7}',
    '[' * 5000,
    '{"settings": {"evaluate_every": 0}}',
    '\x00',
  ],
)
def test_a_configuration_that_was_edited_stops_no_report(study, content):
  (study / 'runs' / 'kd' / 'seed0' / 'config.json').write_text(content)
  (study / 'config.json').write_text('{"arguments": 5, "command": [1]}')
  assert report.write(study).exists()


@pytest.mark.parametrize(
  'arm',
  [
    '$x_{$',
    '$',
    '_hidden',
    'a|b<script>alert(1)*`',
    '[red]x[bold]',
    'ünï',
    os.fsdecode(b'f\xfcr'),
    'line\nbreak',
  ],
)
def test_every_name_of_an_arm_has_a_report(tmp_path, arm):
  study = write_study(tmp_path)
  shutil.move(study / 'runs' / 'kd', study / 'runs' / arm)
  page = report.write(study)
  summary = json.loads((study / 'report' / 'summary.json').read_bytes())
  assert not [note for note in summary['notes'] if 'failed' in note]
  assert {'comparison', 'accuracy', 'loss', 'plan'} <= summary['plots'].keys()
  assert b'<script>alert' not in page.read_bytes()
  table = (study / 'report' / 'table.md').read_text()
  assert '<script>' not in table
  (header, _, *rows), _ = table.split('\n\n')[0].splitlines(), None
  count = header.replace('\\|', '').count('|')
  assert all(row.replace('\\|', '').count('|') == count for row in rows)
  assert len(rows) == 4


def test_markdown_shows_markup_as_text(tmp_path):
  study = write_study(tmp_path, features=False)
  (study / 'runs' / 'kd').rename(study / 'runs' / '<b>&*x*|')
  text = tables.markdown(report.read_study(study))
  assert '| &lt;b&gt;&amp;\\*x\\*\\| |' in text


def test_an_epoch_that_cannot_be_is_named(study):
  path = log_of(study)
  line = json.dumps({'kind': 'train', 'epoch': 10**12, 'step': 1})
  path.write_text(path.read_text() + line + '\n')
  assert f'epoch {10**12} of a line cannot be right' in notes(study)


def test_an_accuracy_of_many_digits_is_left_out(study):
  path = log_of(study)
  lines = [json.loads(line) for line in path.read_text().splitlines()]
  changed = [{**line, 'accuracy': 10**400} for line in lines]
  path.write_text(''.join(json.dumps(line) + '\n' for line in changed))
  assert 'is no finite number' in notes(study)


def test_all_lines_of_training_that_are_missing_are_named(study):
  path = log_of(study)
  lines = path.read_text().splitlines(keepends=True)
  path.write_text(''.join(x for x in lines if '"train"' not in x))
  assert 'no line of training of epochs 1-' in notes(study)
