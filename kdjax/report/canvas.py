"""Common style of all plots: figures without global state, one pen per arm."""

import dataclasses

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from kdjax.messages import printable
from kdjax.report.logs import Study

INK = '#222222'  # text and axes
FAINT = '#d9d9d9'  # grid

# The color-blind safe palette of Okabe and Ito. Yellow is omitted because it is
# too light for a line; black and a gray are reserved for teacher and student.
_TEACHER = '#000000'
_STUDENT = '#7a7a7a'
_METHODS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9')
_LINE_STYLES = ('-', (0, (5, 1.5)), (0, (1.5, 1)), (0, (5, 1, 1, 1)))

# Petroff's ten colors (https://arxiv.org/abs/2107.02270), for classes.
CLASSES = (
  '#3f90da',
  '#ffa90e',
  '#bd1f01',
  '#94a4a2',
  '#832db6',
  '#a96b59',
  '#e76300',
  '#b9ac70',
  '#717581',
  '#92dadd',
)


@dataclasses.dataclass(frozen=True)
class Pen:
  """Color and line style of one arm, the same in all plots of a study.

  Attributes:
    color: A Matplotlib color.
    line: A Matplotlib line style.
  """

  color: str
  line: str | tuple


def pens(study: Study) -> dict[str, Pen]:
  """Returns a pen for each arm: black teachers, gray students, colored methods.

  Args:
    study: The study whose arms are drawn.

  Returns:
    The pens by arm, in the study's order. Beyond six methods the colors repeat
    with another line style.
  """
  by_arm, methods = {}, 0
  for arm, runs in study.arms.items():
    if runs[0].role == 'teacher':
      by_arm[arm] = Pen(_TEACHER, '--')
    elif runs[0].role == 'student':
      by_arm[arm] = Pen(_STUDENT, '-')
    else:
      color = _METHODS[methods % len(_METHODS)]
      line = _LINE_STYLES[methods // len(_METHODS) % len(_LINE_STYLES)]
      by_arm[arm] = Pen(color, line)
      methods += 1
  return by_arm


def label(name: str) -> str:
  """Returns the name of an arm as text of a plot, which may not be markup.

  Matplotlib reads text between dollar signs as a formula, and leaves labels
  that start with an underscore out of legends.

  Args:
    name: The name.
  """
  text = printable(name).replace('$', r'\$')
  return f' {text}' if text.startswith('_') else text


def figure(width: float, height: float) -> Figure:
  """Returns an empty figure that pyplot does not manage.

  Args:
    width: In inches.
    height: In inches.

  Returns:
    A figure of 150 dots per inch with automatic margins.
  """
  margins = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)  # inches
  return Figure(figsize=(width, height), dpi=150, layout=margins)


def plain_axes(axes: Axes, title: str = '') -> None:
  """Styles axes: two spines, a faint grid, a left-aligned title.

  Args:
    axes: Modified in place.
    title: The title (default: none).
  """
  axes.spines[['top', 'right']].set_visible(False)
  axes.spines[['left', 'bottom']].set_color(INK)
  axes.grid(color=FAINT, linewidth=0.6)
  axes.set_axisbelow(True)
  axes.tick_params(colors=INK, labelsize=9)
  axes.set_title(label(title), loc='left', fontsize=11, color=INK)
