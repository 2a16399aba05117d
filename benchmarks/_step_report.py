"""Table, plot and ratios of the rows of `benchmarks.train_step`."""

import pathlib
from collections.abc import Sequence
from typing import Any

from matplotlib.ticker import LogLocator, NullFormatter

from kdjax.report import canvas

# Drawn columns: label, color and marker.
_MARKS = {
  'scanned': ('in the loop', '#0072b2', 'o'),
  'single': ('step by step', '#0072b2', 'x'),
  'torch': ('PyTorch, eager, float32', '#7a7a7a', 's'),
  'torch_fast': ('PyTorch, eager, channels last, bfloat16', '#222222', 'D'),
}


def table(rows: Sequence[dict[str, Any]]) -> str:
  """Returns the rows as text with a header, in aligned columns."""
  lines = [_cells(row) for row in rows]
  columns = list(lines[0])
  widths = {
    name: max(len(name), *(len(line[name]) for line in lines))
    for name in columns
  }
  header = dict(zip(columns, columns))
  return '\n'.join(
    '  '.join(line[name].rjust(widths[name]) for name in columns)
    for line in (header, *lines)
  )


def _cells(row: dict[str, Any]) -> dict[str, str]:
  images, seconds = row['images_per_second'], row['seconds_per_step']
  return {
    'pair': row['pair'],
    'method': row['method'],
    'batch': str(row['batch_size']),
    'precision': row['precision'],
    'images/s': f'{images["scanned"]:g}',
    'scanned ms': f'{1e3 * seconds["scanned"]["median"]:.4g}',
    'single ms': f'{1e3 * seconds["single"]["median"]:.4g}',
    'compile s': f'{row["compile_seconds"]:.3g}',
    'peak MB': f'{row["peak_megabytes_of_a_device"]:.4g}',
    'of matmul': f'{100 * row["share_of_matmul"]:.3g}%',
    'of copy': f'{100 * row["share_of_copy"]:.3g}%',
    **{
      f'/ {name}': f'{row.get("over_torch", {}).get(name, "-")}'
      for name in ('torch', 'torch_fast')
    },
  }


def ratios(rows: Sequence[dict[str, Any]]) -> list[str]:
  """Returns a line for each row that is compared with PyTorch.

  It has the images per second of both and their ratio.
  """
  lines = []
  for row in rows:
    if 'compared_with' not in row:
      continue
    ours = row['images_per_second']['scanned']
    theirs = row['images_per_second'][row['compared_with']]
    lines.append(
      f'ratio {row["pair"]} {row["method"]} {row["batch_size"]} '
      f'{row["precision"]} {ours:g} / {theirs:g} = {ours / theirs:.3f}'
    )
  return lines


def draw(rows: Sequence[dict[str, Any]], path: pathlib.Path) -> None:
  """Plots the images per second of every row."""
  figure = canvas.figure(8.0, 1.6 + 0.3 * len(rows))
  axes = figure.add_subplot()
  canvas.plain_axes(axes)
  for name, (label, color, marker) in _MARKS.items():
    indices = [i for i, row in enumerate(rows) if _has(row, name)]
    values = [rows[i]['images_per_second'][name] for i in indices]
    if indices:
      axes.plot(values, indices, marker, color=color, label=label)
  axes.set_yticks(range(len(rows)), [_label(row) for row in rows])
  axes.set_ylim(len(rows) - 0.5, -0.5)  # the first row on top
  axes.set_xscale('log')
  axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
  axes.xaxis.set_major_formatter('{x:g}')
  axes.xaxis.set_minor_formatter(NullFormatter())
  axes.set_xlabel('images per second')
  figure.legend(loc='outside upper center', ncols=2, frameon=False)
  figure.savefig(path)


def _label(row: dict[str, Any]) -> str:
  return ', '.join(
    str(row[key]) for key in ('pair', 'method', 'batch_size', 'precision')
  )


def _has(row: dict[str, Any], name: str) -> bool:
  return name in row['images_per_second']
