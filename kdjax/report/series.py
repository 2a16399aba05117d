"""Curves of one quantity over the epochs, with the range over seeds."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from kdjax.report.canvas import Pen, label
from kdjax.report.logs import Line, Run

RANGE_CAPTION = (
  'Lines: mean over seeds; shaded: from the lowest to the highest seed.'
)
_MAX_MARKERS = 12  # curves of at most this many epochs have a dot at each

Value = Callable[[Line], float | None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curve:
  """One quantity of one arm at the epochs that all its runs have logged.

  Attributes:
    epochs: `[E]`, ascending.
    values: `[runs, E]`.
  """

  epochs: np.ndarray
  values: np.ndarray


def read(runs: Sequence[Run], kind: str, value: Value) -> Curve | None:
  """Reads a curve from the runs of an arm.

  Args:
    runs: Runs of one arm; unfinished ones count only if none is finished.
    kind: The kind of lines.
    value: Returns the number of a line, or None to skip it.

  Returns:
    The curve, or None if the runs have no epoch in common.
  """
  counted = [run for run in runs if run.end] or list(runs)
  series = [
    {
      line['epoch']: number
      for line in run.of_kind(kind)
      if 'epoch' in line and (number := value(line)) is not None
    }
    for run in counted
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


def scaled(line: Line, name: str, factor: float) -> float | None:
  """Returns a line's number times a factor; None if absent or not finite."""
  number = line.get(name)
  if not isinstance(number, int | float) or not math.isfinite(number):
    return None
  return factor * number


def draw(
  axes: Axes, curves: Mapping[str, Curve], pens: Mapping[str, Pen]
) -> None:
  """Draws curves over the epochs: mean over seeds, and range if several.

  Args:
    axes: Drawn on.
    curves: Curves by name.
    pens: Color and line style by the same names.
  """
  for name, curve in curves.items():
    pen = pens[name]
    axes.plot(
      curve.epochs,
      curve.values.mean(axis=0),
      color=pen.color,
      linestyle=pen.line,
      linewidth=1.8,
      marker='o' if len(curve.epochs) <= _MAX_MARKERS else '',
      markersize=4,
      label=label(name),
    )
    if len(curve.values) > 1:
      low, high = curve.values.min(axis=0), curve.values.max(axis=0)
      axes.fill_between(
        curve.epochs, low, high, color=pen.color, alpha=0.15, linewidth=0
      )
  axes.set_xlabel('epoch')
  axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))


def log_scale(axes: Axes, curves: Mapping[str, Curve]) -> None:
  """Sets a logarithmic vertical axis if all values are positive."""
  low = min(curve.values.min() for curve in curves.values())
  high = max(curve.values.max() for curve in curves.values())
  if low <= 0:
    return
  axes.set_yscale('log')
  steps = (1, 2, 5) if high / low < 1e3 else (1,)
  axes.yaxis.set_major_locator(LogLocator(subs=steps))
  axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f'{v:g}'))
  axes.yaxis.set_minor_formatter(FuncFormatter(lambda v, _: ''))


def legend(figure: Figure, *panels: Axes) -> None:
  """Adds one legend to the right of the panels, with each name once."""
  entries = {}
  for axes in panels:
    for handle, name in zip(*axes.get_legend_handles_labels()):
      entries.setdefault(name, handle)
  figure.legend(
    entries.values(),
    entries.keys(),
    loc='outside right upper',
    frameon=False,
    fontsize=9,
  )
