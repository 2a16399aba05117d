"""A report replaces its own files and no others."""

import json

import pytest

from kdjax import report
from kdjax.runtime.report_folder import SUMMARY_KEYS, check_report_folder
from tests.report.synthetic import write_study


def test_an_earlier_report_is_replaced(tmp_path):
  study = write_study(tmp_path, features=False)
  report.write(study)
  summary = json.loads((study / 'report' / 'summary.json').read_text())
  assert summary.keys() >= SUMMARY_KEYS
  (study / 'report' / 'notes.txt').write_text('mine')
  report.write(study)
  assert (study / 'report' / 'notes.txt').read_text() == 'mine'


@pytest.mark.parametrize('name', ['table.md', 'report.html', 'loss.png'])
def test_files_of_something_else_are_kept(tmp_path, name):
  study = write_study(tmp_path, features=False)
  (study / 'report').mkdir()
  (study / 'report' / name).write_text('mine')
  with pytest.raises(ValueError, match=f'holds {name} of something else'):
    report.write(study)
  assert (study / 'report' / name).read_text() == 'mine'


def test_a_file_in_its_place_is_named(tmp_path):
  (tmp_path / 'report').write_text('')
  with pytest.raises(ValueError, match='report is a file'):
    check_report_folder(tmp_path)


def test_a_folder_of_other_files_is_shared(tmp_path):
  study = write_study(tmp_path, features=False)
  (study / 'report').mkdir()
  (study / 'report' / 'paper.pdf').write_text('mine')
  report.write(study)
  assert (study / 'report' / 'paper.pdf').read_text() == 'mine'
