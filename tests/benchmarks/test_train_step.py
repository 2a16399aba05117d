"""Tables, figures and mistakes; CI does not measure."""

import pytest

from benchmarks import _step_report, train_step


def _row(precision, compared_with=None, **images):
  row = {
    'pair': 'resnet20:resnet8',
    'method': 'kd',
    'batch_size': 64,
    'precision': precision,
    'images_per_second': images,
    'seconds_per_step': {
      name: {'median': 64 / value} for name, value in images.items()
    },
    'compile_seconds': 12.3,
    'peak_megabytes_of_a_device': 41.5,
    'share_of_matmul': 0.25,
    'share_of_copy': 0.5,
  }
  if compared_with:
    row['compared_with'] = compared_with
    row['over_torch'] = {
      name: images['scanned'] / images[name] for name in ('torch', 'torch_fast')
    }
  return row


ROWS = [
  _row('float32', 'torch', scanned=600, single=500, torch=800, torch_fast=900),
  _row(
    'bfloat16',
    'torch_fast',
    scanned=1200,
    single=500,
    torch=800,
    torch_fast=900,
  ),
]


def test_ratios_compare_equal_precisions():
  assert _step_report.ratios(ROWS) == [
    'ratio resnet20:resnet8 kd 64 float32 600 / 800 = 0.750',
    'ratio resnet20:resnet8 kd 64 bfloat16 1200 / 900 = 1.333',
  ]
  assert _step_report.ratios([_row('float32', scanned=6, single=5)]) == []


def test_table_and_figure_of_rows_with_and_without_torch(tmp_path):
  rows = [*ROWS, _row('float32', scanned=6, single=5)]
  lines = _step_report.table(rows).splitlines()
  assert len(lines) == 4
  assert len({len(line) for line in lines}) == 1
  assert '25%' in lines[1]
  assert lines[3].split()[-2:] == ['-', '-']
  _step_report.draw(rows, tmp_path / 'bars.png')
  assert (tmp_path / 'bars.png').read_bytes()[1:4] == b'PNG'


@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    (['--methods=kdd'], "Unknown method 'kdd'"),
    (['--pairs=resnet8:resnet9'], 'resnet9'),
    (['--batch_sizes=64', '--images=60'], 'do not fill a batch of 64'),
  ],
)
def test_invalid_flags_raise_an_error_before_compilation(flags, message):
  with pytest.raises(ValueError, match=message):
    train_step.main(flags)


@pytest.mark.parametrize('flag', ['--pairs=resnet8', '--precisions=float16'])
def test_flag_errors_describe_valid_values(flag, capsys):
  with pytest.raises(SystemExit):
    train_step.main([flag])
  assert 'each is' in capsys.readouterr().err
