"""FCFD's argument: how a teacher reads errors, and its students' features."""

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
_SHADES = {'random': 0.25, 'student': 0.6, 'steepest': 1.0}


def function(study: Study) -> Figure | None:
  """Three panels by stage: anisotropy, appearance and function gap."""
  gaps = {
    arm: found
    for arm, runs in study.arms.items()
    if (found := last(runs, 'function_gap'))
  }
  if not gaps:
    return None
  figure = canvas.figure(10.8, 3.9)
  panels = figure.subplots(1, 3)
  _anisotropy(panels[0], study, list(gaps))
  for axes, name, title, label in (
    (panels[1], 'appearance', 'How far the features are', 'squared distance'),
    (panels[2], 'function', 'How otherwise they are read', 'nats'),
  ):
    canvas.plain_axes(axes, title)
    _gap(axes, study, gaps, name)
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
  """Every quantity of the last such line of each run that is at its end."""
  counted = [run for run in runs if run.end] or list(runs)
  lines = [run.of_kind(kind)[-1] for run in counted if run.of_kind(kind)]
  if not lines:
    return {}
  names = [name for name in lines[0] if name.startswith('stage_')]
  shared = [name for name in names if all(name in line for line in lines)]
  return {
    name: np.array([line[name] for line in lines], float) for name in shared
  }


def stages(found: Mapping[str, np.ndarray], name: str) -> list[int]:
  """The stages that have a quantity of this name."""
  numbers = [
    int(key.split('.')[0].removeprefix('stage_'))
    for key in found
    if key.endswith(f'.{name}')
  ]
  return sorted(numbers)


def _anisotropy(axes: Axes, study: Study, arms: Sequence[str]) -> None:
  """Bars of the change by direction; the student is one of the first arm."""
  canvas.plain_axes(axes, 'What an error of one size changes')
  arm = arms[0]
  found = last(study.arms[arm], 'anisotropy')
  if not found:
    return
  color = canvas.pens(study)[arm].color
  names = [name for name in _DIRECTIONS if stages(found, name)]
  for place, name in enumerate(names):
    at = stages(found, name)
    heights = [found[f'stage_{stage}.{name}'].mean() for stage in at]
    axes.bar(
      np.array(at) + 0.27 * (place - (len(names) - 1) / 2),
      heights,
      width=0.25,
      color=color if name == 'student' else canvas.INK,
      alpha=_SHADES[name],
      label=_DIRECTIONS[name],
    )
  axes.set_yscale('log')
  axes.set_ylabel('nats')
  _by_stage(axes, stages(found, 'random'))
  axes.legend(frameon=False, fontsize=8, loc='upper right')
  low, high = axes.get_ylim()
  axes.set_ylim(low, high * 30)  # room for the legend


def _gap(axes: Axes, study: Study, gaps, name: str) -> None:
  """A line per arm over the stages, with a bar for the spread over seeds."""
  for arm, found in gaps.items():
    at = stages(found, name)
    values = np.stack([found[f'stage_{stage}.{name}'] for stage in at], 1)
    mean = values.mean(0)
    pen = canvas.pens(study)[arm]
    axes.errorbar(
      at,
      mean,
      yerr=[mean - values.min(0), values.max(0) - mean],
      color=pen.color,
      linestyle=pen.line,
      marker='o',
      markersize=4,
      capsize=2,
      label=arm,
    )
    _by_stage(axes, at)
  axes.set_ylim(bottom=0)


def _by_stage(axes: Axes, at: Sequence[int]) -> None:
  axes.set_xticks(at)
  axes.set_xlabel('stage')


_CAPTION = (
  "Left: the teacher's features of the first evaluation images, moved by a "
  'tenth of their norm: how far its classes move, by direction. Errors of one '
  'size are read very differently, which is why FCFD does not look at their '
  'size alone. Middle: squared distance of the translated student features '
  "from the teacher's, as a share of these. Right: divergence of the classes "
  "that the teacher's later stages read from them, from its own. At the last "
  'evaluation; bars: from the lowest to the highest seed.'
)
