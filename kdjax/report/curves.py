"""Accuracy and loss over the epochs, with their spread over the seeds."""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from kdjax.report import canvas
from kdjax.report.logs import Line, Run, Study

_SPREAD = 'Lines: mean over seeds; shaded: from the lowest to the highest seed.'
_FEW = 12  # epochs below which each is marked by a dot


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curve:
  """One quantity of one arm at the epochs that all its runs have."""

  epochs: np.ndarray  # [E]
  values: np.ndarray  # [runs, E]


def accuracy(study: Study) -> Figure | None:
  """Accuracy on the evaluation set; a line where only the end is known."""
  found = _curves(study, 'eval', lambda line: _scaled(line, 'accuracy', 100))
  if not found:
    return None
  figure = canvas.figure(8, 4.5)
  axes = figure.add_subplot()
  canvas.plain_axes(axes, 'Accuracy on the evaluation set')
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
  _draw(axes, found, pens)
  axes.set_ylabel('accuracy, percent')
  axes.set_ylim(_floor(found), min(axes.get_ylim()[1], 100.5))
  _legend(figure, axes)
  figure.set_label(
    f'Accuracy on the evaluation set after each epoch. {_SPREAD} The axis '
    'starts where the arms stand after a fifth of their epochs.'
    + _level_note(ends)
  )
  return figure


def loss(study: Study) -> Figure | None:
  """Loss on the evaluation set, and what was minimised, on log scales."""
  panels = {
    'Loss on the evaluation set': _curves(
      study, 'eval', lambda line: _scaled(line, 'loss', 1)
    ),
    'Training objective': _curves(
      study, 'train', lambda line: _scaled(line, 'loss', 1)
    ),
  }
  panels = {title: found for title, found in panels.items() if found}
  if not panels:
    return None
  figure = canvas.figure(2 + 4 * len(panels), 4.2)
  for index, (title, found) in enumerate(panels.items()):
    axes = figure.add_subplot(1, len(panels), index + 1)
    canvas.plain_axes(axes, title)
    _draw(axes, found, canvas.pens(study))
    _log_scale(axes, found)
  _legend(figure, *figure.axes)
  figure.set_label(
    f'Losses after each epoch. {_SPREAD} The training objective is the sum '
    'of the terms that the arm minimises, so its height differs between '
    "arms by definition; the loss on the evaluation set is the task's alone."
  )
  return figure


def _curves(
  study: Study, kind: str, value: Callable[[Line], float | None]
) -> dict[str, Curve]:
  """The curves of all arms that have one, of finished runs where there are.

  A single point beside longer curves (a teacher that was given and is only
  judged) is no curve.
  """
  found = {}
  for arm, runs in study.arms.items():
    counted = [run for run in runs if run.end] or list(runs)
    curve = _curve(counted, kind, value)
    if curve is not None:
      found[arm] = curve
  longest = max((len(curve.epochs) for curve in found.values()), default=0)
  least = min(2, longest)
  return {a: curve for a, curve in found.items() if len(curve.epochs) >= least}


def _curve(runs: Sequence[Run], kind, value) -> Curve | None:
  series = [
    {
      line['epoch']: number
      for line in run.of_kind(kind)
      if 'epoch' in line and (number := value(line)) is not None
    }
    for run in runs
  ]
  series = [points for points in series if points]
  if not series:
    return None
  shared = sorted(set.intersection(*(set(points) for points in series)))
  if not shared:
    return None
  return Curve(
    epochs=np.array(shared),
    values=np.array([[points[e] for e in shared] for points in series]),
  )


def _scaled(line, name, factor):
  """The finite number of that name, times the factor; None without one."""
  number = line.get(name)
  if not isinstance(number, int | float) or not math.isfinite(number):
    return None
  return factor * number


def _draw(axes: Axes, found: dict[str, Curve], pens) -> None:
  for arm, curve in found.items():
    pen = pens[arm]
    axes.plot(
      curve.epochs,
      curve.values.mean(axis=0),
      color=pen.color,
      linestyle=pen.line,
      linewidth=1.8,
      marker='o' if len(curve.epochs) <= _FEW else '',
      markersize=4,
      label=arm,
    )
    if len(curve.values) > 1:
      low, high = curve.values.min(axis=0), curve.values.max(axis=0)
      axes.fill_between(
        curve.epochs, low, high, color=pen.color, alpha=0.15, linewidth=0
      )
  axes.set_xlabel('epoch')
  axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))


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


def _log_scale(axes, found):
  low = min(curve.values.min() for curve in found.values())
  high = max(curve.values.max() for curve in found.values())
  if low <= 0:
    return
  axes.set_yscale('log')
  steps = (1, 2, 5) if high / low < 1e3 else (1,)
  axes.yaxis.set_major_locator(LogLocator(subs=steps))
  axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f'{v:g}'))
  axes.yaxis.set_minor_formatter(FuncFormatter(lambda v, _: ''))


def _legend(figure, *panels):
  """One legend beside the panels, an entry for each arm in any of them."""
  entries = {}
  for axes in panels:
    for handle, label in zip(*axes.get_legend_handles_labels()):
      entries.setdefault(label, handle)
  figure.legend(
    entries.values(),
    entries.keys(),
    loc='outside right upper',
    frameon=False,
    fontsize=9,
  )
