"""KD²M's theorem over the epochs: what bounds what, and by how much."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from kdjax.report import canvas, series
from kdjax.report.logs import Run, Study
from kdjax.report.series import SPREAD, Curve

# The chain from the top, as the lines name its links: label and line.
_CHAIN: dict[str, tuple[str, Any]] = {
  'paired': ('distance image by image', '--'),
  'w2': ('$W_2$ of the embeddings', '-'),
  'risk_gap': ('difference of risks / L', ':'),
}
_WIDEST = 3  # panels in a row


def bound(study: Study) -> Figure | None:
  """A panel for each arm that logged both sides of the theorem."""
  found = {
    arm: chain for arm, runs in study.arms.items() if (chain := _chain(runs))
  }
  if not found:
    return None
  columns = min(len(found), _WIDEST)
  rows = -(-len(found) // columns)
  figure = canvas.figure(max(6.5, 0.6 + 3.6 * columns), 0.8 + 3.4 * rows)
  shared = None
  for index, (arm, chain) in enumerate(found.items()):
    axes = figure.add_subplot(rows, columns, index + 1, sharey=shared)
    shared = shared or axes
    canvas.plain_axes(axes, arm)
    _draw(axes, chain, canvas.pens(study)[arm].color)
  series.log_scale(
    figure.axes[0],
    {f'{a} {n}': c for a, chain in found.items() for n, c in chain.items()},
  )
  for axes in figure.axes[::columns]:
    axes.set_ylabel('units of a feature')
  _legend(figure, found)
  figure.set_label(_caption(found))
  return figure


def _chain(runs: Sequence[Run]) -> dict[str, Curve]:
  """The links of the chain that an arm has logged."""
  curves = {
    name: series.read(runs, 'bound', lambda line, name=name: _above(line, name))
    for name in _CHAIN
  }
  return {name: curve for name, curve in curves.items() if curve is not None}


def _above(line, name):
  """The number, if a logarithmic axis has a place for it."""
  value = series.scaled(line, name, 1)
  return value if value is not None and value > 0 else None


def _draw(axes: Axes, chain: dict[str, Curve], color: str) -> None:
  pens = {name: canvas.Pen(color, _CHAIN[name][1]) for name in chain}
  series.draw(axes, chain, pens)


def _legend(figure: Figure, found) -> None:
  """The lines, in ink: their colours are the arms'."""
  names = [n for n in _CHAIN if any(n in chain for chain in found.values())]
  figure.legend(
    [Line2D([], [], color=canvas.INK, linestyle=_CHAIN[n][1]) for n in names],
    [_CHAIN[name][0] for name in names],
    loc='outside lower center',
    ncols=len(names),
    frameon=False,
    fontsize=9,
  )


def _caption(found: dict[str, dict[str, Curve]]) -> str:
  text = (
    'Both sides of the theorem of KD²M on the first evaluation images, before '
    'training (epoch 0) and at each evaluation. Dashed: root mean square of '
    "the distance between an image's two embeddings; solid: Wasserstein "
    'distance of the two clouds, never above it. '
  )
  if any('risk_gap' in chain for chain in found.values()):
    text += (
      "Dotted, never above that: how wrong the student's head is on the "
      "student's embeddings less how wrong it is on the teacher's, the "
      "teacher's head taken as the truth, in units of the largest slope L. It "
      'bounds no accuracy. '
    )
  return text + SPREAD
