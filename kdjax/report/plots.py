"""Registry of the plots of a report, by name.

A plot is a function of the study that returns a figure, or None if the logs
have no data for it; the figure's label (`Figure.set_label`) is its caption. It
draws on `canvas.figure` with `canvas.pens`, so that an arm has the same color
in all plots. To add a plot, add it to `PLOTS`, and the kind of lines it reads
to `logs.KINDS`.
"""

from collections.abc import Callable

from matplotlib.figure import Figure

from kdjax.report import bars, bound, clouds, curves, function, plan
from kdjax.report.logs import Study

Plot = Callable[[Study], Figure | None]

# By file name without suffix, in the order of the page.
PLOTS: dict[str, Plot] = {
  'comparison': bars.comparison,
  'accuracy': curves.accuracy,
  'loss': curves.loss,
  'bound': bound.bound,
  'function': function.function,
  'features': clouds.features,
  'plan': plan.plan,
}
