"""Plot of the transport plan between student and teacher, by class."""

import dataclasses

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from scipy.optimize import linear_sum_assignment

from kdjax.report import canvas
from kdjax.report.embeddings import Features, first_of_each_arm
from kdjax.report.logs import Study

_MAX_TICKS = 10  # class names on an axis


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
  """Exact transport plan between two sets of embeddings of the same images.

  Attributes:
    classes: `[K]`, the class labels.
    mass: `[K, K]`, fraction of the total mass transported from the row's class
      to the column's.
    own_image: Fraction of the mass transported between the two embeddings of
      one image.
  """

  classes: np.ndarray
  mass: np.ndarray
  own_image: float


def plan(study: Study) -> Figure | None:
  """Draws the plans of the student before training, alone, and distilled.

  Args:
    study: The study; the first distilled arm whose embeddings have the
      teacher's width is drawn.

  Returns:
    The figure, or None without embeddings of the teacher and of such an arm.
  """
  by_arm = first_of_each_arm(study)
  teacher = by_arm.get(study.arm_of_role('teacher') or '')
  arm = _first_distilled(study, by_arm, teacher)
  if teacher is None or arm is None:
    return None
  embeddings = {f'{arm}, trained': by_arm[arm].embedding}
  alone = by_arm.get(study.arm_of_role('student') or '')
  if alone is not None and alone.embedding.shape == teacher.embedding.shape:
    embeddings = {'student alone, trained': alone.embedding, **embeddings}
  if by_arm[arm].before is not None:
    embeddings = {'before training': by_arm[arm].before, **embeddings}
  figure = canvas.figure(0.9 + 3.5 * len(embeddings), 4.1)
  panels = figure.subplots(1, len(embeddings), squeeze=False)[0]
  for axes, (title, embedding) in zip(panels, embeddings.items()):
    image = _draw(
      axes, transport(embedding, teacher.embedding, teacher.labels), title
    )
  panels[0].set_ylabel('class of the student image')
  bar = figure.colorbar(image, ax=panels, shrink=0.7, pad=0.02)
  bar.set_label('fraction of the row', fontsize=9)
  bar.outline.set_visible(False)
  figure.set_label(_caption(len(teacher.labels)))
  return figure


def transport(
  student: np.ndarray, teacher: np.ndarray, labels: np.ndarray
) -> Plan:
  r"""Computes the plan of least squared distance, by exact assignment.

  It minimizes :math:`\sum_{ij} \gamma_{ij} \lVert x_i - y_j \rVert^2` over the
  plans :math:`\gamma` between uniform distributions.

  Args:
    student: :math:`x`, `[N, D]`.
    teacher: :math:`y`, `[N, D]`, of the same images in the same order.
    labels: `[N]`.

  Returns:
    The plan, summed by class.
  """
  rows, columns = linear_sum_assignment(_squared_distances(student, teacher))
  classes, index = np.unique(labels, return_inverse=True)
  mass = np.zeros((len(classes), len(classes)))
  np.add.at(mass, (index[rows], index[columns]), 1 / len(labels))
  return Plan(
    classes=classes, mass=mass, own_image=float(np.mean(rows == columns))
  )


def _squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
  x, y = x.astype(np.float64), y.astype(np.float64)
  center = y.mean(axis=0)  # subtracted to avoid cancellation far from zero
  x, y = x - center, y - center
  squares = np.square(x).sum(1)[:, None] + np.square(y).sum(1)
  return np.maximum(squares - 2 * x @ y.T, 0)


def _first_distilled(
  study: Study, by_arm: dict[str, Features], teacher: Features | None
) -> str | None:
  """Returns the first distilled arm with embeddings of the teacher's width."""
  for arm, features in by_arm.items():
    role = study.arms[arm][0].role
    same_shape = teacher is not None and (
      features.embedding.shape == teacher.embedding.shape
    )
    if role == 'distilled' and same_shape:
      return arm
  return None


def _draw(axes: Axes, made: Plan, title: str) -> AxesImage:
  """Draws each row as a distribution, so that rare classes are visible."""
  canvas.plain_axes(axes)
  axes.set_title(
    f'{canvas.label(title)}\nsame class {_percent(np.trace(made.mass))}, '
    f'same image {_percent(made.own_image)}',
    loc='left',
    fontsize=9.5,
    color=canvas.INK,
  )
  axes.grid(visible=False)
  fractions = made.mass / made.mass.sum(axis=1, keepdims=True)
  image = axes.imshow(fractions, cmap='Blues', vmin=0, vmax=1)
  count = len(made.classes)
  ticks = np.arange(0, count, -(-count // _MAX_TICKS))
  axes.set_xticks(ticks, made.classes[ticks].tolist())
  axes.set_yticks(ticks, made.classes[ticks].tolist())
  axes.set_xlabel('class of the teacher image')
  return image


def _percent(fraction: float) -> str:
  return f'{100 * fraction:.1f} %'


def _caption(images: int) -> str:
  return (
    "Optimal transport plan from the student's embeddings to the teacher's: "
    'each student image is assigned to one teacher image so that the sum of '
    'squared distances is minimal. A row is a class of student images and '
    'shows the classes of the teacher images that they are assigned to; the '
    'diagonal is the same class. Embeddings are those of the networks, without '
    f'projection. {images} evaluation images, one seed.'
  )
