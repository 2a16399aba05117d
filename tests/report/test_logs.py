import json
import pathlib

import pytest

from kdjax.report import read_study
from tests.report import synthetic


def _run(folder, lines, arm='kd', config=True):
  run = folder / 'runs' / arm / 'seed0'
  synthetic.write_lines(run, lines)
  if config:
    synthetic.write_json(folder / 'config.json', {'command': 'experiments.x'})
    synthetic.write_json(run / 'config.json', {'arm': arm})
  return run


def test_orders_arms_and_seeds(tmp_path):
  study = read_study(synthetic.write_study(tmp_path, features=False))
  assert list(study.arms) == ['teacher', 'student', 'kd', 'kd2m']
  assert [run.seed for run in study.arms['kd']] == [0, 1, 2]
  assert [run.accuracy for run in study.arms['kd']] == [0.92, 0.93, 0.94]
  assert study.notes == ()


def test_seeds_are_ordered_as_numbers(tmp_path):
  for seed in (10, 9):
    run = tmp_path / 'runs' / 'kd' / f'seed{seed}'
    synthetic.write_lines(run, [{'kind': 'end', 'accuracy': 0.5}])
  assert [run.seed for run in read_study(tmp_path).runs] == [9, 10]


def test_a_folder_without_runs_raises_an_error(tmp_path):
  with pytest.raises(ValueError, match=rf'{tmp_path} has no runs: expected'):
    read_study(tmp_path)


def test_role_is_derived_from_the_arm_if_the_config_is_missing(tmp_path):
  for arm in ('teacher', 'student', 'kd+kd2m'):
    _run(tmp_path, [{'kind': 'end', 'accuracy': 0.5}], arm, config=False)
  study = read_study(tmp_path)
  assert [run.role for run in study.runs] == ['teacher', 'student', 'distilled']
  assert 'config.json is missing.' in study.notes
  assert 'runs/teacher/seed0/config.json is missing.' in study.notes


def test_unreadable_lines_are_skipped_with_a_note(tmp_path):
  run = _run(tmp_path, [])
  end = json.dumps({'kind': 'end', 'accuracy': 0.5, 'new_key': [1]})
  (run / 'metrics.jsonl').write_text(
    '{"kind": "eval", "epo{"kind": "eval"}\n[1, 2]\n\n' + end + '\n{"kind": "ev'
  )
  study = read_study(tmp_path)
  assert [line['kind'] for line in study.runs[0].lines] == ['end']
  assert study.notes == (
    'runs/kd/seed0/metrics.jsonl: skipped unreadable lines 1, 2, 5.',
  )


def test_bytes_that_are_not_utf8_are_an_unreadable_line(tmp_path):
  run = _run(tmp_path, [])
  (run / 'metrics.jsonl').write_bytes(
    b'{"kind": "end", "accuracy": 1}\n\xff\x00'
  )
  study = read_study(tmp_path)
  assert study.runs[0].accuracy == 1
  assert 'unreadable lines 2' in study.notes[0]


def test_notes_name_the_last_epoch_of_unfinished_runs(tmp_path):
  line = {'kind': 'train', 'step': 9, 'loss': 1.0}
  _run(tmp_path, [{**line, 'epoch': epoch} for epoch in (1, 2, 3)])
  _run(tmp_path, [], arm='student')
  study = read_study(tmp_path)
  assert [run.accuracy for run in study.runs] == [None, None]
  assert study.notes == (
    'runs/student/seed0: unfinished (no lines); not counted in the table.',
    'runs/kd/seed0: unfinished (epoch 3); not counted in the table.',
  )


def test_notes_name_the_step_of_divergence(tmp_path):
  _run(tmp_path, [{'kind': 'diverged', 'epoch': 1, 'step': 17}])
  assert 'diverged at step 17' in read_study(tmp_path).notes[0]


def test_a_folder_without_metrics_is_an_unfinished_run(tmp_path):
  (tmp_path / 'runs' / 'kd' / 'seed0').mkdir(parents=True)
  assert read_study(tmp_path).runs[0].lines == ()


def test_later_line_of_a_repeated_measurement_is_used(tmp_path):
  def line(epoch, loss, split='test'):
    return {
      'kind': 'eval',
      'epoch': epoch,
      'step': 4 * epoch,
      'split': split,
      'loss': loss,
    }

  end = {'kind': 'end', 'epoch': 2, 'step': 8, 'accuracy': 0.4}
  _run(
    tmp_path,
    [
      line(1, 3.0),
      line(1, 5.0, 'train'),
      line(2, 2.0),
      line(2, 1.0),
      end,
      {**end, 'accuracy': 0.6},
    ],
  )
  run = read_study(tmp_path).runs[0]
  assert [x['loss'] for x in run.of_kind('eval')] == [3.0, 5.0, 1.0]
  assert run.accuracy == 0.6


def test_unknown_kinds_are_kept_with_a_note(tmp_path):
  lines = [{'kind': 'overlap', 'step': s, 'share': 0.1} for s in (1, 2)]
  lines += [{'kind': 'remark', 'value': 1}, {'kind': 'remark', 'value': 2}]
  _run(tmp_path, [*lines, {'kind': 'end', 'accuracy': 0.5}])
  study = read_study(tmp_path)
  assert len(study.runs[0].of_kind('overlap')) == 2
  assert [x['value'] for x in study.runs[0].of_kind('remark')] == [1, 2]
  assert study.notes == (
    "2 lines of kind 'overlap', which no plot reads.",
    "2 lines of kind 'remark', which no plot reads.",
  )


def test_an_invalid_config_gives_a_note(tmp_path):
  run = _run(tmp_path, [{'kind': 'end', 'accuracy': 0.5}])
  (run / 'config.json').write_text('{"arm": ')
  (tmp_path / 'config.json').write_text('[]')
  assert read_study(tmp_path).notes == (
    'config.json is not a JSON object.',
    'runs/kd/seed0/config.json cannot be read as JSON.',
  )


def test_accepts_a_path_as_string(tmp_path: pathlib.Path):
  _run(tmp_path, [{'kind': 'end', 'accuracy': 0.5}])
  assert read_study(str(tmp_path)).folder == tmp_path
