import doctest
import io

import pytest
import rich.console
import rich.table

from kdjax import report
from kdjax.report import read_study, tables
from tests.report.synthetic import ARMS, Arm, write_lines, write_study


def _print(table, width):
  sheet = io.StringIO()
  rich.console.Console(file=sheet, width=width).print(table)
  return sheet.getvalue()


def test_cells_worked_by_hand(tmp_path):
  cells = tables.cells(read_study(write_study(tmp_path, features=False)))
  assert cells[0][2:] == ('1', '98.00', '–', '–', '272.5 k', '82.0 M')
  assert cells[3] == (
    'kd2m',
    'convnet_4_8',
    '3',
    '89.00 ± 1.00',
    '+4.00 ± 0.58',
    '31 %',
    '78.0 k',
    '25.5 M',
  )


def test_fits_a_terminal_of_eighty_columns(tmp_path):
  table = report.table(write_study(tmp_path, features=False))
  assert isinstance(table, rich.table.Table)
  shown = _print(table, 80)
  assert 'teacher  convnet_32_64  1         98.00' in shown
  assert '25.5 M' in shown
  assert max(map(len, shown.splitlines())) <= 80


def test_unfinished_runs_are_counted_separately(tmp_path):
  study = write_study(tmp_path, features=False)
  write_lines(study / 'runs' / 'kd' / 'seed2', [])
  write_lines(study / 'runs' / 'teacher' / 'seed0', [])
  cells = tables.cells(read_study(study))
  assert cells[0][2:6] == ('0/1', '–', '–', '–')
  assert cells[2][2] == '2/3'


def test_markdown_has_one_line_for_each_arm_and_escapes_bars(tmp_path):
  arms = {'a|b': Arm(accuracies=(0.5,))}
  text = tables.markdown(read_study(write_study(tmp_path, arms)))
  lines = text.splitlines()
  assert lines[0].startswith('| arm | network | n | accuracy |')
  assert lines[1].startswith('| --- | --- | --: |')
  assert lines[2].startswith('| a\\|b | convnet_4_8 | 1 | 50.00 | – |')


def test_names_are_not_markup(tmp_path):
  arms = {'[red]kd': Arm(accuracies=(0.5,))}
  study = read_study(write_study(tmp_path, arms, features=False))
  assert '[red]kd' in tables.plain(study)


def test_plain_text_of_many_arms(tmp_path):
  arms = {**ARMS, **{f'm{i}': Arm(accuracies=(0.5, 0.6)) for i in range(20)}}
  study = read_study(write_study(tmp_path, arms, features=False))
  lines = tables.plain(study).splitlines()
  assert sum(line.startswith('m') for line in lines) == 20


@pytest.mark.parametrize(
  ('count', 'text'),
  [(None, '–'), (7, '7'), (1234, '1.2 k'), (4.1e9, '4.1 G'), (2e12, '2.0 T')],
)
def test_counts_are_abbreviated(tmp_path, count, text):
  end = {'kind': 'end', 'accuracy': 0.5}
  if count is not None:
    end['parameters'] = count
  write_lines(tmp_path / 'runs' / 'kd' / 'seed0', [end])
  assert tables.cells(read_study(tmp_path))[0][6] == text


def test_the_example_of_the_docstring():
  assert doctest.testmod(tables, raise_on_error=True).attempted > 0
