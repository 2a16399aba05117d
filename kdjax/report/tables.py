"""The table of a study, for terminals, for Markdown and for the page."""

import io

import rich.box
import rich.console
import rich.markup
import rich.table
from etils import epath

from kdjax.report.logs import Study, read_study
from kdjax.report.summary import Estimate, Row, summarize

CAPTION = (
  'Accuracy after the last epoch in percent, and its difference to the '
  'student alone in points, paired by seed: mean ± standard error over '
  'seeds. Gap closed: that difference as a share of the way from the '
  'student alone to the teacher. n: seeds. FLOP: of one forward image.'
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
TEXT_COLUMNS = 2  # the first ones; the others are numbers, to the right
NOTHING = '–'


def table(workdir: epath.PathLike) -> rich.table.Table:
  """The table of a work folder, to print with rich.

  Raises:
    ValueError: If the folder has no runs.
  """
  return rich_table(read_study(workdir))


def header(study: Study) -> tuple[str, ...]:
  """`HEADER`, by the name of what the study is judged by."""
  return tuple(_named(name, study) for name in HEADER)


def caption(study: Study) -> str:
  """`CAPTION`, by the same name."""
  return _named(CAPTION, study)


def cells(study: Study) -> list[tuple[str, ...]]:
  """The table as text, a tuple of `HEADER`'s length for each arm."""
  return [_cells(row) for row in summarize(study)]


def rich_table(study: Study) -> rich.table.Table:
  """The table of a study, to print with rich."""
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
      _named(name, study).replace(
        ' ', '\n'
      ),  # eight columns in a terminal of eighty
      justify='left' if text else 'right',
      overflow='fold',
      no_wrap=not text,
      vertical='bottom',
    )
  for row in cells(study):
    drawn.add_row(*map(rich.markup.escape, row))
  return drawn


def plain(study: Study) -> str:
  """The table as plain text of at most 100 columns."""
  sheet = io.StringIO()
  rich.console.Console(file=sheet, width=100).print(rich_table(study))
  lines = [line.rstrip() for line in sheet.getvalue().splitlines()]
  return '\n'.join(lines).strip('\n') + '\n'


def markdown(study: Study) -> str:
  """The table in Markdown, its caption below."""
  sides = ['---'] * TEXT_COLUMNS + ['--:'] * (len(HEADER) - TEXT_COLUMNS)
  rows = [header(study), sides, *cells(study)]
  lines = [
    '| ' + ' | '.join(cell.replace('|', '\\|') for cell in row) + ' |'
    for row in rows
  ]
  return '\n'.join([*lines, '', caption(study), ''])


def percent(value: Estimate | None, *, sign: bool = False) -> str:
  """A share in percent, `85.20 ± 1.01`; without an error for one seed."""
  if value is None:
    return NOTHING
  mean = f'{100 * value.mean:{"+" if sign else ""}.2f}'
  if value.standard_error is None:
    return mean
  return f'{mean} ± {100 * value.standard_error:.2f}'


def _cells(row: Row) -> tuple[str, ...]:
  finished = 0 if row.accuracy is None else row.accuracy.count
  seeds = str(finished)
  if row.unfinished:
    seeds += f'/{finished + row.unfinished}'
  share = NOTHING if row.gap_closed is None else f'{100 * row.gap_closed:.0f} %'
  return (
    row.arm,
    row.network or NOTHING,
    seeds,
    percent(row.accuracy),
    percent(row.difference, sign=True),
    share,
    _short(row.parameters),
    _short(row.forward_flops),
  )


def _named(text: str, study: Study) -> str:
  """A text about accuracy, by the name of what the study is judged by."""
  if study.score == 'accuracy':
    return text
  return text.replace('Accuracy', study.score).replace('accuracy', study.score)


def _short(value: float | None) -> str:
  """A count to one decimal of its thousands, millions, …"""
  if value is None:
    return NOTHING
  for size, unit in ((1e12, 'T'), (1e9, 'G'), (1e6, 'M'), (1e3, 'k')):
    if value >= size:
      return f'{value / size:.1f} {unit}'
  return f'{value:.0f}'
