"""JSON lines of a run, their readers and their writer."""

import os
import subprocess
import sys

import pytest

from kdjax.runtime import files


def test_unreadable_lines_are_skipped_and_reported(tmp_path):
  path = tmp_path / 'metrics.jsonl'
  path.write_bytes(
    b'{"step": 1}\n\n[1, 2]\n{"step\n{"step": 2}\n\xff\x00\n{"step": 3'
  )
  unreadable = []
  lines = files.read_lines(path, unreadable.append)
  assert lines == [{'step': 1}, {'step': 2}]
  assert unreadable == [3, 4, 6, 7]
  assert files.read_lines(path) == lines


def test_a_file_that_does_not_exist_has_no_lines(tmp_path):
  assert files.read_lines(tmp_path / 'metrics.jsonl') == []


def test_a_writer_keeps_readable_lines_up_to_its_step(tmp_path):
  path = tmp_path / 'metrics.jsonl'
  path.write_text('{"step": 1}\n{"st\n{"step": 2}\n{"step": 3}\n{"ste')
  files.MetricsWriter(path, 2).write(step=4)
  assert files.read_lines(path) == [{'step': 1}, {'step': 2}, {'step': 4}]
  assert path.read_text().endswith('{"step": 4}\n')


def test_reading_a_run_does_not_import_jax():
  code = (
    'import sys, kdjax.runtime.files, kdjax.report.logs; '
    'assert "jax" not in sys.modules'
  )
  subprocess.run([sys.executable, '-c', code], check=True)


def test_versions_name_the_packages_and_devices():
  versions = files.versions()
  assert {'kdjax', 'jax', 'python', 'devices'} <= versions.keys()
  assert versions['devices'].endswith(' x cpu')


def test_a_line_that_is_nested_too_deeply_is_skipped(tmp_path):
  path = tmp_path / 'log.jsonl'
  path.write_text('{"step": 1}\n' + '[' * 200_000 + '\n')
  skipped = []
  assert files.read_lines(path, skipped.append) == [{'step': 1}]
  assert skipped == [2]


def test_a_pipe_is_refused(tmp_path):
  os.mkfifo(tmp_path / 'pipe')
  for read in (files.read_lines, files.read_json):
    with pytest.raises(ValueError, match='is not a regular file'):
      read(tmp_path / 'pipe')


def test_a_writer_drops_the_end_that_it_writes_again(tmp_path):
  path = tmp_path / 'log.jsonl'
  path.write_text('{"kind": "train", "step": 1}\n{"kind": "end", "step": 1}\n')
  files.MetricsWriter(path, 1)
  assert [line['kind'] for line in files.read_lines(path)] == ['train']
