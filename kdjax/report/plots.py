"""The pictures of a report, by name.

A plot takes the study and returns a figure, or None where the logs have nothing
for it; the figure's label (`Figure.set_label`) becomes its caption. It draws on
`canvas.figure` with `canvas.pens`, so that an arm has one colour everywhere. To
add one, add it here, and the kind of lines it reads to `logs.KINDS`.
"""

from collections.abc import Callable

from matplotlib.figure import Figure

from kdjax.report import bars, bound, clouds, curves, function, plan
from kdjax.report.logs import Study

Plot = Callable[[Study], Figure | None]

# By file name, in the order of the page.
PLOTS: dict[str, Plot] = {
  'comparison': bars.comparison,
  'accuracy': curves.accuracy,
  'loss': curves.loss,
  'bound': bound.bound,
  'function': function.function,
  'features': clouds.features,
  'plan': plan.plan,
}
