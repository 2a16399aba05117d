"""Plots of accuracy and loss over the epochs."""

import math

import numpy as np
from matplotlib.figure import Figure

from kdjax.report import canvas, series
from kdjax.report.logs import Study
from kdjax.report.series import RANGE_CAPTION, Curve, Value, scaled


def accuracy(study: Study) -> Figure | None:
  """Draws accuracy on the evaluation images after each epoch.

  An arm whose final accuracy alone is known is a horizontal line.

  Args:
    study: The study; lines of kind `eval` are read.

  Returns:
    The figure, or None if no arm has such lines.
  """
  curves = _read_curves(
    study, 'eval', lambda line: scaled(line, study.score, 100)
  )
  if not curves:
    return None
  figure = canvas.figure(8, 4.5)
  axes = figure.add_subplot()
  title = study.score.replace('accuracy', 'Accuracy')
  canvas.plain_axes(axes, f'{title} on the evaluation images')
  pens = canvas.pens(study)
  finals = _final_accuracies(study, curves)
  for arm, percent in finals.items():
    axes.axhline(
      percent,
      color=pens[arm].color,
      linestyle=pens[arm].line,
      linewidth=1.4,
      label=canvas.label(arm),
    )
  series.draw(axes, curves, pens)
  axes.set_ylabel(canvas.label(f'{study.score}, percent'))
  axes.set_ylim(_lower_limit(curves), min(axes.get_ylim()[1], 100.5))
  series.legend(figure, axes)
  figure.set_label(
    f'{title} on the evaluation images after each epoch. {RANGE_CAPTION} The '
    'axis starts below the lowest value after a fifth of the epochs.'
    + _final_note(finals)
  )
  return figure


def loss(study: Study) -> Figure | None:
  """Draws the evaluation loss and the training objective, on log scales.

  Args:
    study: The study; lines of kind `eval` and `train` are read.

  Returns:
    The figure, or None if no arm has such lines.
  """
  panels = {
    'Loss on the evaluation images': _read_curves(
      study, 'eval', lambda line: scaled(line, 'loss', 1)
    ),
    'Training objective': _read_curves(
      study, 'train', lambda line: scaled(line, 'loss', 1)
    ),
  }
  panels = {title: curves for title, curves in panels.items() if curves}
  if not panels:
    return None
  figure = canvas.figure(2 + 4 * len(panels), 4.2)
  for index, (title, curves) in enumerate(panels.items()):
    axes = figure.add_subplot(1, len(panels), index + 1)
    canvas.plain_axes(axes, title)
    series.draw(axes, curves, canvas.pens(study))
    series.log_scale(axes, curves)
  series.legend(figure, *figure.axes)
  figure.set_label(
    f'Losses after each epoch. {RANGE_CAPTION} The training objective is the '
    'sum of the terms that the arm minimizes, so its values are not comparable '
    'between arms; the evaluation loss is the task loss alone.'
  )
  return figure


def _read_curves(study: Study, kind: str, value: Value) -> dict[str, Curve]:
  """Returns the curves of the arms that have one.

  A single point beside longer curves (a given teacher that is only evaluated)
  is no curve.
  """
  curves = {
    arm: curve
    for arm, runs in study.arms.items()
    if (curve := series.read(runs, kind, value)) is not None
  }
  longest = max((len(curve.epochs) for curve in curves.values()), default=0)
  least = min(2, longest)
  return {a: curve for a, curve in curves.items() if len(curve.epochs) >= least}


def _final_accuracies(
  study: Study, curves: dict[str, Curve]
) -> dict[str, float]:
  """Returns mean final accuracy, percent, of finished arms without a curve."""
  finals = {}
  for arm, runs in study.arms.items():
    accuracies = [run.accuracy for run in runs if run.accuracy is not None]
    if arm not in curves and accuracies:
      finals[arm] = 100 * float(np.mean(accuracies))
  return finals


def _final_note(finals: dict[str, float]) -> str:
  if not finals:
    return ''
  return f' Only the final accuracy is known for: {", ".join(finals)}.'


def _lower_limit(curves: dict[str, Curve]) -> float:
  """Returns a lower axis limit that hides the steep first fifth of a run."""
  low = min(c.values[:, len(c.epochs) // 5 :].min() for c in curves.values())
  return max(0.0, math.floor(low) - 1.0)
