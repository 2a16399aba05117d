"""Plot of both sides of KD²M's theorem over the epochs."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from kdjax.report import canvas, series
from kdjax.report.logs import Line, Run, Study
from kdjax.report.series import RANGE_CAPTION, Curve

# Quantities of the inequality, largest first, by their key in a log line:
# legend label and line style.
_QUANTITIES: dict[str, tuple[str, Any]] = {
  'paired': ('paired distance (RMS)', '--'),
  'w2': ('$W_2$ of the embeddings', '-'),
  'risk_gap': ('difference of risks / L', ':'),
}
_MAX_COLUMNS = 3


def bound(study: Study) -> Figure | None:
  """Draws one panel for each arm that logged both sides of the theorem.

  Args:
    study: The study; lines of kind `bound` are read.

  Returns:
    The figure, or None if no arm has such lines.
  """
  curves_by_arm = {
    arm: curves
    for arm, runs in study.arms.items()
    if (curves := _read_curves(runs))
  }
  if not curves_by_arm:
    return None
  columns = min(len(curves_by_arm), _MAX_COLUMNS)
  rows = -(-len(curves_by_arm) // columns)
  figure = canvas.figure(max(6.5, 0.6 + 3.6 * columns), 0.8 + 3.4 * rows)
  shared = None
  for index, (arm, curves) in enumerate(curves_by_arm.items()):
    axes = figure.add_subplot(rows, columns, index + 1, sharey=shared)
    shared = shared or axes
    canvas.plain_axes(axes, arm)
    _draw(axes, curves, canvas.pens(study)[arm].color)
  series.log_scale(
    figure.axes[0],
    {
      f'{arm} {name}': curve
      for arm, curves in curves_by_arm.items()
      for name, curve in curves.items()
    },
  )
  for axes in figure.axes[::columns]:
    axes.set_ylabel('feature units')
  _legend(figure, curves_by_arm)
  figure.set_label(_caption(curves_by_arm))
  return figure


def _read_curves(runs: Sequence[Run]) -> dict[str, Curve]:
  """Returns the quantities of the inequality that an arm has logged."""
  curves = {
    name: series.read(
      runs, 'bound', lambda line, name=name: _positive(line, name)
    )
    for name in _QUANTITIES
  }
  return {name: curve for name, curve in curves.items() if curve is not None}


def _positive(line: Line, name: str) -> float | None:
  """Returns the number if a logarithmic axis can show it, else None."""
  value = series.scaled(line, name, 1)
  return value if value is not None and value > 0 else None


def _draw(axes: Axes, curves: dict[str, Curve], color: str) -> None:
  pens = {name: canvas.Pen(color, _QUANTITIES[name][1]) for name in curves}
  series.draw(axes, curves, pens)


def _legend(figure: Figure, curves_by_arm: dict[str, dict[str, Curve]]) -> None:
  """Explains the line styles, in black because colors stand for arms."""
  names = [
    name
    for name in _QUANTITIES
    if any(name in curves for curves in curves_by_arm.values())
  ]
  figure.legend(
    [
      Line2D([], [], color=canvas.INK, linestyle=_QUANTITIES[name][1])
      for name in names
    ],
    [_QUANTITIES[name][0] for name in names],
    loc='outside lower center',
    ncols=len(names),
    frameon=False,
    fontsize=9,
  )


def _caption(curves_by_arm: dict[str, dict[str, Curve]]) -> str:
  text = (
    'Both sides of the theorem of KD²M on the first evaluation images, before '
    'training (epoch 0) and at each evaluation. Dashed: root mean squared '
    "distance between an image's two embeddings. Solid: Wasserstein distance "
    'of the two sets of embeddings, never above the dashed line. '
  )
  if any('risk_gap' in curves for curves in curves_by_arm.values()):
    text += (
      "Dotted, never above the solid line: risk of the student's head on the "
      "student's embeddings minus its risk on the teacher's, with the "
      "teacher's head as ground truth, divided by the Lipschitz constant L. It "
      'bounds no accuracy. '
    )
  return text + RANGE_CAPTION
