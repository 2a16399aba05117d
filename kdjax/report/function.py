"""Plot of FCFD's observations: anisotropy, appearance and function gap."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdjax.report import canvas
from kdjax.report.logs import Run, Study

_DIRECTIONS = {
  'random': 'in a random direction',
  'student': "towards the student's features",
  'steepest': 'in the steepest direction',
}
_OPACITIES = {'random': 0.25, 'student': 0.6, 'steepest': 1.0}


def function(study: Study) -> Figure | None:
  """Draws three panels by stage: anisotropy, appearance and function gap.

  Args:
    study: The study; lines of kind `anisotropy` and `function_gap` are read.

  Returns:
    The figure, or None if no arm has lines of kind `function_gap`.
  """
  gaps = {
    arm: quantities
    for arm, runs in study.arms.items()
    if (quantities := last(runs, 'function_gap'))
  }
  if not gaps:
    return None
  figure = canvas.figure(10.8, 3.9)
  panels = figure.subplots(1, 3)
  _draw_anisotropy(panels[0], study, list(gaps))
  for axes, name, title, label in (
    (panels[1], 'appearance', 'Appearance gap', 'relative squared distance'),
    (panels[2], 'function', 'Function gap', 'KL divergence, nats'),
  ):
    canvas.plain_axes(axes, title)
    _draw_gap(axes, study, gaps, name)
    axes.set_ylabel(label)
  handles, labels = panels[2].get_legend_handles_labels()
  figure.legend(
    handles,
    labels,
    loc='outside lower right',
    ncols=len(labels),
    frameon=False,
    fontsize=9,
  )
  figure.set_label(_CAPTION)
  return figure


def last(runs: Sequence[Run], kind: str) -> dict[str, np.ndarray]:
  """Returns the quantities of each run's last line of a kind.

  Args:
    runs: Runs of one arm; unfinished ones count only if none is finished.
    kind: The kind of lines.

  Returns:
    Arrays `[runs]` by key, for the `stage_…` keys that all these lines have;
    empty if no run has a line of that kind.
  """
  counted = [run for run in runs if run.end] or list(runs)
  lines = [run.of_kind(kind)[-1] for run in counted if run.of_kind(kind)]
  if not lines:
    return {}
  names = [name for name in lines[0] if name.startswith('stage_')]
  shared = [name for name in names if all(name in line for line in lines)]
  return {
    name: np.array([line[name] for line in lines], float) for name in shared
  }


def stages(quantities: Mapping[str, np.ndarray], name: str) -> list[int]:
  """Returns the stages that have a quantity.

  Args:
    quantities: As `last` returns them, with keys `stage_<i>.<name>`.
    name: Name of the quantity.

  Returns:
    The stage indices, ascending.
  """
  indices = [
    int(key.split('.')[0].removeprefix('stage_'))
    for key in quantities
    if key.endswith(f'.{name}')
  ]
  return sorted(indices)


def _draw_anisotropy(axes: Axes, study: Study, arms: Sequence[str]) -> None:
  """Draws bars of the change by direction, of the first of the arms."""
  canvas.plain_axes(axes, 'Effect of an error of one size')
  arm = arms[0]
  quantities = last(study.arms[arm], 'anisotropy')
  if not quantities:
    return
  color = canvas.pens(study)[arm].color
  names = [name for name in _DIRECTIONS if stages(quantities, name)]
  for index, name in enumerate(names):
    indices = stages(quantities, name)
    heights = [quantities[f'stage_{stage}.{name}'].mean() for stage in indices]
    axes.bar(
      np.array(indices) + 0.27 * (index - (len(names) - 1) / 2),
      heights,
      width=0.25,
      color=color if name == 'student' else canvas.INK,
      alpha=_OPACITIES[name],
      label=_DIRECTIONS[name],
    )
  axes.set_yscale('log')
  axes.set_ylabel('KL divergence, nats')
  _label_stages(axes, stages(quantities, 'random'))
  axes.legend(frameon=False, fontsize=8, loc='upper right')
  low, high = axes.get_ylim()
  axes.set_ylim(low, high * 30)  # leaves space for the legend


def _draw_gap(
  axes: Axes,
  study: Study,
  gaps: Mapping[str, Mapping[str, np.ndarray]],
  name: str,
) -> None:
  """Draws one line per arm over the stages, with the range over seeds."""
  for arm, quantities in gaps.items():
    indices = stages(quantities, name)
    values = np.stack(
      [quantities[f'stage_{stage}.{name}'] for stage in indices], 1
    )
    mean = values.mean(0)
    pen = canvas.pens(study)[arm]
    axes.errorbar(
      indices,
      mean,
      yerr=[mean - values.min(0), values.max(0) - mean],
      color=pen.color,
      linestyle=pen.line,
      marker='o',
      markersize=4,
      capsize=2,
      label=canvas.label(arm),
    )
    _label_stages(axes, indices)
  axes.set_ylim(bottom=0)


def _label_stages(axes: Axes, indices: Sequence[int]) -> None:
  axes.set_xticks(indices)
  axes.set_xlabel('stage')


_CAPTION = (
  'Left: change of the predicted distribution of the teacher when its features '
  'of the first evaluation images are perturbed by a tenth of their norm, by '
  'direction. Errors of the same size have very different effects, which is '
  'why FCFD does not compare their size alone. Middle: squared distance of the '
  "translated student features from the teacher's, relative to the squared "
  'norm of the latter. Right: divergence of the distribution that the '
  "teacher's later stages predict from the translated features from its own. "
  'At the last evaluation; bars: from the lowest to the highest seed.'
)
