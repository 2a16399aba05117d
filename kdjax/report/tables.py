"""Table of a study: for the terminal, in Markdown and in HTML."""

import html
import io
import re

import rich.box
import rich.console
import rich.markup
import rich.table
from etils import epath

from kdjax.messages import printable
from kdjax.report.logs import Study, read_study
from kdjax.report.summary import Estimate, Row, summarize

CAPTION = (
  'Accuracy after the last epoch in percent, and its difference from the '
  'student alone in percentage points, paired by seed: mean ± standard error '
  'over seeds. Gap closed: the difference as a share of the gap between the '
  'student alone and the teacher. n: number of seeds. FLOP: operations of the '
  'forward pass of one image.'
)

HEADER = (
  'arm',
  'network',
  'n',
  'accuracy',
  'difference',
  'gap closed',
  'params',
  'FLOP',
)
TEXT_COLUMNS = 2  # leading columns aligned left; the rest hold numbers
EMPTY = '–'  # cell of a missing number


def table(workdir: epath.PathLike) -> rich.table.Table:
  """Returns the table of a work folder, to print with rich.

  Args:
    workdir: A study's work folder, which may still be running.

  Returns:
    One row for each arm, with the columns of `HEADER`.

  Raises:
    ValueError: If the folder has no runs.

  Example:
    >>> import json, tempfile
    >>> from etils import epath
    >>> folder = tempfile.TemporaryDirectory()
    >>> workdir = epath.Path(folder.name)
    >>> for arm, scores in {'student': (0.5, 0.7), 'kd': (0.6, 0.9)}.items():
    ...   for seed, score in enumerate(scores):
    ...     run = workdir / 'runs' / arm / f'seed{seed}'
    ...     run.mkdir(parents=True)
    ...     line = json.dumps({'kind': 'end', 'accuracy': score})
    ...     _ = (run / 'metrics.jsonl').write_text(line)
    >>> columns = table(workdir).columns
    >>> list(columns[3].cells)
    ['60.00 ± 10.00', '75.00 ± 15.00']
    >>> list(columns[4].cells)
    ['–', '+15.00 ± 5.00']
    >>> folder.cleanup()
  """
  return rich_table(read_study(workdir))


def header(study: Study) -> tuple[str, ...]:
  """Returns `HEADER` with the name of the study's score."""
  return tuple(_with_score_name(name, study) for name in HEADER)


def caption(study: Study) -> str:
  """Returns `CAPTION` with the name of the study's score."""
  return _with_score_name(CAPTION, study)


def cells(study: Study) -> list[tuple[str, ...]]:
  """Returns the cells as text, one tuple of `HEADER`'s length for each arm."""
  return [_cells(row) for row in summarize(study)]


def rich_table(study: Study) -> rich.table.Table:
  """Returns the table of a study, to print with rich."""
  drawn = rich.table.Table(
    box=rich.box.SIMPLE_HEAD,
    show_edge=False,
    padding=(0, 1, 0, 0),
    pad_edge=False,
    caption=caption(study),
    caption_justify='left',
  )
  for index, name in enumerate(header(study)):
    text = index < TEXT_COLUMNS
    drawn.add_column(
      name.replace(' ', '\n'),  # so that the table fits 80 columns
      justify='left' if text else 'right',
      overflow='fold',
      no_wrap=not text,
      vertical='bottom',
    )
  for row in cells(study):
    drawn.add_row(*(rich.markup.escape(printable(cell)) for cell in row))
  return drawn


def plain(study: Study) -> str:
  """Returns the table as plain text, at most 100 characters wide."""
  text = io.StringIO()
  rich.console.Console(file=text, width=100).print(rich_table(study))
  lines = [line.rstrip() for line in text.getvalue().splitlines()]
  return '\n'.join(lines).strip('\n') + '\n'


def markdown(study: Study) -> str:
  """Returns the table in Markdown, followed by its caption."""
  alignment = ['---'] * TEXT_COLUMNS
  alignment += ['--:'] * (len(HEADER) - TEXT_COLUMNS)
  rows = [header(study), alignment, *cells(study)]
  lines = ['| ' + ' | '.join(map(_markdown_cell, row)) + ' |' for row in rows]
  return '\n'.join([*lines, '', caption(study), ''])


def _markdown_cell(text: str) -> str:
  """Returns a text that Markdown shows as it is, without HTML."""
  escaped = html.escape(printable(text), quote=False)
  return re.sub(r'([|*`\[\]\\$])', r'\\\1', escaped)


def percent(value: Estimate | None, *, sign: bool = False) -> str:
  """Formats an estimate in percent, such as `85.20 ± 1.01`.

  Args:
    value: A fraction; None gives `EMPTY`. A single seed has no `±`.
    sign: Whether positive numbers have a sign.
  """
  if value is None:
    return EMPTY
  mean = f'{100 * value.mean:{"+" if sign else ""}.2f}'
  if value.standard_error is None:
    return mean
  return f'{mean} ± {100 * value.standard_error:.2f}'


def _cells(row: Row) -> tuple[str, ...]:
  finished = 0 if row.accuracy is None else row.accuracy.count
  seeds = str(finished)
  if row.unfinished:
    seeds += f'/{finished + row.unfinished}'
  closed = EMPTY if row.gap_closed is None else f'{100 * row.gap_closed:.0f} %'
  return (
    row.arm,
    row.network or EMPTY,
    seeds,
    percent(row.accuracy),
    percent(row.difference, sign=True),
    closed,
    _abbreviate(row.parameters),
    _abbreviate(row.forward_flops),
  )


def _with_score_name(text: str, study: Study) -> str:
  """Replaces 'accuracy' in a text by the name of the study's score."""
  if study.score == 'accuracy':
    return text
  return text.replace('Accuracy', study.score).replace('accuracy', study.score)


def _abbreviate(value: float | None) -> str:
  """Formats a count with an SI prefix and one decimal."""
  if value is None:
    return EMPTY
  for size, unit in ((1e12, 'T'), (1e9, 'G'), (1e6, 'M'), (1e3, 'k')):
    if value >= size:
      return f'{value / size:.1f} {unit}'
  return f'{value:.0f}'
