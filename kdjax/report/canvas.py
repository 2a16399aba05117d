"""How every picture looks: figures without global state, one pen per arm."""

import dataclasses

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from kdjax.report.logs import Study

INK = '#222222'
FAINT = '#d9d9d9'

# Okabe and Ito's colours, told apart by colour-blind readers too; their yellow
# is left out (too light for a line), their black and a grey are the baselines'.
_TEACHER = '#000000'
_STUDENT = '#7a7a7a'
_METHODS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9')
_LINES = ('-', (0, (5, 1.5)), (0, (1.5, 1)), (0, (5, 1, 1, 1)))

# Petroff's ten colours (https://arxiv.org/abs/2107.02270), for classes.
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
  """Colour and line of one arm, the same in all pictures of a study."""

  color: str
  line: str | tuple


def pens(study: Study) -> dict[str, Pen]:
  """A pen for each arm: black teachers, grey students, coloured methods."""
  drawn, methods = {}, 0
  for arm, runs in study.arms.items():
    if runs[0].role == 'teacher':
      drawn[arm] = Pen(_TEACHER, '--')
    elif runs[0].role == 'student':
      drawn[arm] = Pen(_STUDENT, '-')
    else:
      color = _METHODS[methods % len(_METHODS)]
      line = _LINES[methods // len(_METHODS) % len(_LINES)]
      drawn[arm] = Pen(color, line)
      methods += 1
  return drawn


def figure(width: float, height: float) -> Figure:
  """An empty figure, inches; drawn by Agg, unknown to pyplot."""
  margins = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)  # inches
  return Figure(figsize=(width, height), dpi=150, layout=margins)


def plain_axes(axes: Axes, title: str = '') -> None:
  """Two spines, a faint grid behind the data, a title to the left."""
  axes.spines[['top', 'right']].set_visible(False)
  axes.spines[['left', 'bottom']].set_color(INK)
  axes.grid(color=FAINT, linewidth=0.6)
  axes.set_axisbelow(True)
  axes.tick_params(colors=INK, labelsize=9)
  axes.set_title(title, loc='left', fontsize=11, color=INK)
