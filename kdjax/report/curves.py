"""Accuracy and loss over the epochs, with their spread over the seeds."""

import math

import numpy as np
from matplotlib.figure import Figure

from kdjax.report import canvas, series
from kdjax.report.logs import Study
from kdjax.report.series import SPREAD, Curve, Value, scaled


def accuracy(study: Study) -> Figure | None:
  """Accuracy on the evaluation set; a line where only the end is known."""
  found = _curves(study, 'eval', lambda line: scaled(line, study.score, 100))
  if not found:
    return None
  figure = canvas.figure(8, 4.5)
  axes = figure.add_subplot()
  title = study.score.replace('accuracy', 'Accuracy')
  canvas.plain_axes(axes, f'{title} on the evaluation set')
  pens = canvas.pens(study)
  ends = _levels(study, found)
  for arm, level in ends.items():
    axes.axhline(
      level,
      color=pens[arm].color,
      linestyle=pens[arm].line,
      linewidth=1.4,
      label=arm,
    )
  series.draw(axes, found, pens)
  axes.set_ylabel(f'{study.score}, percent')
  axes.set_ylim(_floor(found), min(axes.get_ylim()[1], 100.5))
  series.legend(figure, axes)
  figure.set_label(
    f'{title} on the evaluation set after each epoch. {SPREAD} The axis '
    'starts where the arms stand after a fifth of their epochs.'
    + _level_note(ends)
  )
  return figure


def loss(study: Study) -> Figure | None:
  """Loss on the evaluation set, and what was minimised, on log scales."""
  panels = {
    'Loss on the evaluation set': _curves(
      study, 'eval', lambda line: scaled(line, 'loss', 1)
    ),
    'Training objective': _curves(
      study, 'train', lambda line: scaled(line, 'loss', 1)
    ),
  }
  panels = {title: found for title, found in panels.items() if found}
  if not panels:
    return None
  figure = canvas.figure(2 + 4 * len(panels), 4.2)
  for index, (title, found) in enumerate(panels.items()):
    axes = figure.add_subplot(1, len(panels), index + 1)
    canvas.plain_axes(axes, title)
    series.draw(axes, found, canvas.pens(study))
    series.log_scale(axes, found)
  series.legend(figure, *figure.axes)
  figure.set_label(
    f'Losses after each epoch. {SPREAD} The training objective is the sum '
    'of the terms that the arm minimises, so its height differs between '
    "arms by definition; the loss on the evaluation set is the task's alone."
  )
  return figure


def _curves(study: Study, kind: str, value: Value) -> dict[str, Curve]:
  """The curves of all arms that have one.

  A single point beside longer curves (a teacher that was given and is only
  judged) is no curve.
  """
  found = {
    arm: curve
    for arm, runs in study.arms.items()
    if (curve := series.read(runs, kind, value)) is not None
  }
  longest = max((len(curve.epochs) for curve in found.values()), default=0)
  least = min(2, longest)
  return {a: curve for a, curve in found.items() if len(curve.epochs) >= least}


def _levels(study, found):
  """Mean final accuracy, percent, of finished arms that have no curve."""
  levels = {}
  for arm, runs in study.arms.items():
    ends = [run.accuracy for run in runs if run.accuracy is not None]
    if arm not in found and ends:
      levels[arm] = 100 * float(np.mean(ends))
  return levels


def _level_note(levels):
  if not levels:
    return ''
  return f' Only the final accuracy is known of: {", ".join(levels)}.'


def _floor(found):
  """A bottom that leaves the first, steep epochs out of a long run."""
  low = min(c.values[:, len(c.epochs) // 5 :].min() for c in found.values())
  return max(0.0, math.floor(low) - 1.0)
