"""Bar plot of final accuracies and their differences from the student alone."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdjax.report import canvas
from kdjax.report.logs import Study
from kdjax.report.summary import Row, estimate, summarize
from kdjax.report.tables import percent

_BAR_HEIGHT = 0.62  # in units of the distance between two rows


def comparison(study: Study) -> Figure | None:
  """Draws bars of final accuracy, and beside them the paired differences.

  Args:
    study: The study; only arms with a finished run are drawn.

  Returns:
    The figure, or None if fewer than two arms have a finished run.
  """
  rows = [row for row in summarize(study) if row.accuracy is not None]
  if len(rows) < 2:
    return None
  paired = any(row.difference is not None for row in rows)
  figure = canvas.figure(10 if paired else 6, 1.2 + 0.42 * len(rows))
  left = figure.add_subplot(1, 2 if paired else 1, 1)
  canvas.plain_axes(left, f'Final {study.score}, percent')
  _draw_accuracies(left, study, rows)
  _label_rows(left, [canvas.label(row.arm) for row in rows])
  caption = 'Accuracy after the last epoch: bars are means, dots are seeds.'
  if paired:
    right = figure.add_subplot(1, 2, 2)
    canvas.plain_axes(right, 'Difference from the student alone, points')
    _draw_differences(right, study, rows)
    _label_rows(right, [''] * len(rows))
    caption += (
      ' Right: difference from the student alone of the same seed; error bars '
      'are one standard error. Dashed line: the teacher.'
    )
  figure.set_label(caption)
  return figure


def _draw_accuracies(axes: Axes, study: Study, rows: list[Row]) -> None:
  pens = canvas.pens(study)
  for index, row in enumerate(rows):
    runs = study.arms[row.arm]
    seeds = [100 * run.accuracy for run in runs if run.accuracy is not None]
    color = pens[row.arm].color
    axes.barh(index, float(np.mean(seeds)), color=color, height=_BAR_HEIGHT)
    if len(seeds) > 1:
      axes.scatter(
        seeds,
        index + np.linspace(-0.2, 0.2, len(seeds)),
        s=13,
        color='white',
        edgecolors=canvas.INK,
        linewidths=0.8,
        zorder=3,
      )
    _annotate(axes, max(seeds), index, percent(row.accuracy))
  axes.set_xlim(0, 128)  # leaves space for the numbers to the right of the bars
  axes.set_xticks(range(0, 101, 20))


def _draw_differences(axes: Axes, study: Study, rows: list[Row]) -> None:
  pens = canvas.pens(study)
  extent = [0.0]  # values that the horizontal axis must cover
  for index, row in enumerate(rows):
    if row.difference is None:
      continue
    mean = 100 * row.difference.mean
    error = 100 * (row.difference.standard_error or 0.0)
    axes.barh(index, mean, color=pens[row.arm].color, height=_BAR_HEIGHT)
    if error:
      axes.errorbar(
        mean, index, xerr=error, color=canvas.INK, capsize=3, linewidth=1.2
      )
    text = percent(row.difference, sign=True)
    _annotate(axes, max(mean + error, 0), index, text)
    extent += [mean - error, mean + error]
  gap = _teacher_gap(study)
  if gap is not None:
    axes.axvline(gap, color=canvas.INK, linestyle='--', linewidth=1.2)
    _annotate(axes, gap, 0, f'teacher {gap:+.2f}')
    extent.append(gap)
  axes.axvline(0, color=canvas.INK, linewidth=0.8)
  span = max(extent) - min(extent) or 1.0
  axes.set_xlim(min(extent) - 0.05 * span, max(extent) + 0.42 * span)


def _teacher_gap(study: Study) -> float | None:
  """Returns teacher minus student alone, in percentage points."""
  means = []
  for role in ('teacher', 'student'):
    runs = study.arms.get(study.arm_of_role(role) or '', ())
    mean = estimate([r.accuracy for r in runs if r.accuracy is not None])
    if mean is None:
      return None
    means.append(100 * mean.mean)
  return means[0] - means[1]


def _label_rows(axes: Axes, names: list[str]) -> None:
  axes.set_yticks(range(len(names)), names)
  axes.set_ylim(len(names) - 0.4, -0.6)  # the first row on top
  axes.grid(visible=False, axis='y')
  axes.tick_params(axis='y', length=0)


def _annotate(axes: Axes, x: float, index: int, text: str) -> None:
  axes.annotate(
    text,
    (x, index),
    (5, 0),
    textcoords='offset points',
    va='center_baseline',
    fontsize=9,
    color=canvas.INK,
    bbox={'facecolor': 'white', 'linewidth': 0, 'pad': 1},
  )
