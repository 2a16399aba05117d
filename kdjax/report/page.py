"""Writer of a study's report: plots, tables, and one HTML page with both."""

import dataclasses
import io
import json
import math
import shlex
from collections.abc import Sequence
from typing import Any

from etils import epath

from kdjax.report import html, plots, tables
from kdjax.report.logs import Run, Study, read_study
from kdjax.report.summary import summarize
from kdjax.runtime.files import write_bytes
from kdjax.runtime.report_folder import (
  NAME,
  SUMMARY,
  TEXTS,
  check_report_folder,
)

# What a plot of damaged logs may raise; the rest of the report is written.
_FAILURES = (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture:
  """A plot as it is stored.

  Attributes:
    name: File name without its suffix.
    caption: Text below the plot.
    png: The file's content.
  """

  name: str
  caption: str
  png: bytes


def write(workdir: epath.PathLike) -> epath.Path:
  """Writes `workdir/report` from the logs below `workdir/runs`.

  Args:
    workdir: A study's work folder. Unfinished runs and unreadable files are
      skipped and named on the page.

  Returns:
    The path of `report.html`; the PNG files, `table.md`, `table.txt` and
    `summary.json` are in the same folder.

  Raises:
    ValueError: If the folder has no runs, or its `report` is not one of this
      library.
  """
  study = read_study(workdir)
  images = [f'{name}.png' for name in plots.PLOTS]
  check_report_folder(study.folder, (*TEXTS, *images))
  folder = study.folder / NAME
  pictures, failures = draw(study)
  notes = (*study.notes, *failures)
  texts = {
    SUMMARY: _summary(study, pictures, notes),  # first: it marks the folder
    'table.md': tables.markdown(study),
    'table.txt': tables.plain(study),
    'report.html': _page(study, pictures, notes),
  }
  for name, text in texts.items():
    # Names of folders may hold bytes that are not UTF-8.
    write_bytes(folder / name, text.encode('utf-8', 'backslashreplace'))
  for name in images:  # plots of an earlier report may be out of date
    (folder / name).unlink(missing_ok=True)
  for picture in pictures:
    write_bytes(folder / f'{picture.name}.png', picture.png)
  return folder / 'report.html'


def draw(study: Study) -> tuple[list[Picture], list[str]]:
  """Draws every plot for which the study has data.

  Args:
    study: The study.

  Returns:
    The plots, and a note for each plot that failed, as on damaged logs.
  """
  pictures, failures = [], []
  for name, plot in plots.PLOTS.items():
    png = io.BytesIO()
    try:
      figure = plot(study)
      if figure is None:
        continue
      figure.savefig(png, format='png')
    except _FAILURES as error:
      failures.append(f'Plot {name} failed: {error}')
      continue
    caption = str(figure.get_label())
    pictures.append(Picture(name=name, caption=caption, png=png.getvalue()))
  return pictures, failures


def _summary(
  study: Study, pictures: Sequence[Picture], notes: Sequence[str]
) -> str:
  content = {
    'command': study.config.get('command'),
    'arms': [dataclasses.asdict(row) for row in summarize(study)],
    'plots': {picture.name: picture.caption for picture in pictures},
    'notes': list(notes),
  }
  return (
    json.dumps(_replace_non_finite(content), indent=2, ensure_ascii=False)
    + '\n'
  )


def _page(
  study: Study, pictures: Sequence[Picture], notes: Sequence[str]
) -> str:
  title = str(study.config.get('command') or study.folder.name)
  parts = [
    html.element('h1', title),
    html.table(
      tables.header(study),
      tables.cells(study),
      text_columns=tables.TEXT_COLUMNS,
    ),
    html.element('p', tables.caption(study), 'caption'),
    *([html.element('h2', 'Skipped'), html.items(notes)] if notes else []),
    *(html.picture(picture.png, picture.caption) for picture in pictures),
    html.element('h2', 'All runs'),
    html.table(
      _RUN_HEADER, [_run_cells(run) for run in study.runs], text_columns=1
    ),
    html.element('h2', 'Commands'),
    html.element('pre', _commands(study)),
    html.element('h2', 'Versions'),
    html.structure(study.config.get('versions', {})),
    html.element('h2', 'Configuration'),
    html.structure(study.config.get('config', {})),
  ]
  return html.document(f'{title}: report', parts)


_RUN_HEADER = (
  'arm',
  'seed',
  'epochs',
  'accuracy',
  'best',
  'seconds',
  'images/s',
)


def _run_cells(run: Run) -> tuple[str, ...]:
  end = run.end
  if end is None:
    empty = [tables.EMPTY] * (len(_RUN_HEADER) - 3)
    return (run.arm, str(run.seed), 'unfinished', *empty)
  epochs = end.get('epoch', tables.EMPTY)
  numbers = (
    (run.score, 100, '.2f'),
    (f'best_{run.score}', 100, '.2f'),
    ('seconds', 1, ',.1f'),
    ('images_per_second', 1, ',.0f'),
  )
  values = [
    tables.EMPTY if end.get(name) is None else format(factor * end[name], form)
    for name, factor, form in numbers
  ]
  return (run.arm, str(run.seed), str(epochs), *values)


def _commands(study: Study) -> str:
  """Returns the commands that made the study and that make its report."""
  folder = shlex.quote(study.folder.as_posix())
  lines = [f'python -m kdjax.report {folder}']
  if study.config.get('command'):
    given = study.config.get('arguments', ())
    arguments = shlex.join(map(str, given if isinstance(given, list) else ()))
    lines.insert(0, f'python -m {study.config["command"]} {arguments}'.rstrip())
  return '\n'.join(lines)


def _replace_non_finite(value: Any) -> Any:
  """Replaces NaN and infinities, which JSON does not have, by None."""
  if isinstance(value, dict):
    return {key: _replace_non_finite(entry) for key, entry in value.items()}
  if isinstance(value, list | tuple):
    return [_replace_non_finite(entry) for entry in value]
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value
