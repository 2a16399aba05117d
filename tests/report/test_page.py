import html.parser
import json
import subprocess
import sys

import pytest

from kdjax import report
from kdjax.report import plots
from kdjax.report.page import draw
from tests.report.synthetic import ARMS, Arm, write_lines, write_study


class _Reader(html.parser.HTMLParser):
  """Collects tags and links, and checks that every open tag is closed."""

  def __init__(self):
    super().__init__()
    self.open, self.tags, self.sources = [], [], []

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    self.sources += [v for k, v in attrs if k in ('src', 'href')]
    if tag not in ('meta', 'img'):
      self.open.append(tag)

  def handle_endtag(self, tag):
    assert self.open.pop() == tag


@pytest.fixture(scope='module')
def study(tmp_path_factory):
  folder = write_study(tmp_path_factory.mktemp('study'))
  report.write(folder)
  return folder


def test_writes_all_files_into_the_report_folder(study):
  names = {path.name for path in (study / 'report').iterdir()}
  assert names == {
    'report.html',
    'table.md',
    'table.txt',
    'summary.json',
    *(f'{name}.png' for name in plots.PLOTS),
  }


def test_page_is_well_formed_and_self_contained(study):
  text = (study / 'report' / 'report.html').read_text('utf-8')
  reader = _Reader()
  reader.feed(text)
  assert reader.open == []
  assert len(reader.sources) == len(plots.PLOTS)
  assert all(s.startswith('data:image/png;base64,') for s in reader.sources)
  assert not {'script', 'link', 'iframe'} & set(reader.tags)
  assert 'http' not in text


def test_page_shows_the_command_and_escapes_text(study):
  text = (study / 'report' / 'report.html').read_text('utf-8')
  assert '<h1>experiments.digits</h1>' in text
  assert 'python -m experiments.digits --method=kd2m' in text
  assert '&quot;jax&quot;: &quot;0.10.2&quot;' in text
  assert 'a &lt; b &amp; ' in text
  assert '89.00 ± 1.00' in text


def test_arm_names_are_escaped(tmp_path):
  arms = {'<b onclick=x>': Arm(accuracies=(0.5,))}
  text = report.write(write_study(tmp_path, arms)).read_text('utf-8')
  assert '<b onclick' not in text
  assert '&lt;b onclick=x&gt;' in text


def test_summary_is_strict_json_with_the_numbers_of_the_table(study):
  def refuse(constant):
    raise AssertionError(constant)

  text = (study / 'report' / 'summary.json').read_text('utf-8')
  summary = json.loads(text, parse_constant=refuse)
  arms = {row['arm']: row for row in summary['arms']}
  assert arms['kd2m']['accuracy']['mean'] == pytest.approx(0.89)
  assert arms['kd2m']['difference']['count'] == 3
  assert arms['teacher']['accuracy']['standard_error'] is None
  assert set(summary['plots']) == set(plots.PLOTS)
  assert summary['notes'] == []


def test_page_lists_what_was_skipped(tmp_path):
  study = write_study(tmp_path, features=False)
  write_lines(study / 'runs' / 'kd' / 'seed1', [])
  (study / 'runs' / 'teacher' / 'seed0' / 'features.npz').write_bytes(b'PK')
  text = report.write(study).read_text('utf-8')
  assert 'runs/kd/seed1: unfinished' in text
  assert 'Plot features failed: runs/teacher/seed0/features.npz' in text


def test_outdated_plots_are_removed(tmp_path):
  study = write_study(tmp_path)
  report.write(study)
  for path in study.glob('runs/*/*/features.npz'):
    path.unlink()
  report.write(study)
  assert not (study / 'report' / 'features.png').exists()
  assert (study / 'report' / 'accuracy.png').exists()


def test_unfinished_studies_have_a_page(tmp_path):
  write_lines(tmp_path / 'runs' / 'teacher' / 'seed0', [])
  text = report.write(tmp_path).read_text('utf-8')
  assert 'unfinished' in text


def test_a_custom_plot_is_one_entry(tmp_path, monkeypatch):
  def overlap(study):
    lines = study.arms['kd'][0].of_kind('overlap')
    if not lines:
      return None
    figure = plots.curves.canvas.figure(3, 2)
    figure.add_subplot().plot([line['gap'] for line in lines])
    figure.set_label('Both in one place.')
    return figure

  monkeypatch.setitem(plots.PLOTS, 'overlap', overlap)
  study = write_study(tmp_path, {'kd': ARMS['kd']}, features=False)
  assert 'overlap' not in [p.name for p in draw(report.read_study(study))[0]]
  path = study / 'runs' / 'kd' / 'seed0' / 'metrics.jsonl'
  path.write_text(path.read_text() + '{"kind": "overlap", "gap": 0.5}\n')
  text = report.write(study).read_text('utf-8')
  assert (study / 'report' / 'overlap.png').exists()
  assert 'Both in one place.' in text


def test_pyplot_is_not_imported(study):
  code = (
    f'from kdjax import report; report.write({str(study)!r}); import sys; '
    'assert "matplotlib.pyplot" not in sys.modules'
  )
  subprocess.run([sys.executable, '-W', 'error', '-c', code], check=True)


@pytest.mark.slow
def test_command_prints_the_table_and_the_page(study):
  done = subprocess.run(
    [sys.executable, '-m', 'kdjax.report', str(study)],
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  assert '89.00 ± 1.00' in done.stdout
  assert done.stdout.rstrip().endswith('report.html')


def test_command_fails_with_a_message_without_runs(tmp_path):
  done = subprocess.run(
    [sys.executable, '-m', 'kdjax.report', str(tmp_path)],
    capture_output=True,
    text=True,
  )
  assert done.returncode == 1
  assert done.stderr.startswith(f'error: {tmp_path} has no runs')
  assert 'Traceback' not in done.stderr
