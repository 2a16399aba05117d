"""Which of the teacher's images the student's are carried to, by class."""

import dataclasses

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import linear_sum_assignment

from kdjax.report import canvas
from kdjax.report.embeddings import Features, first_of_each_arm
from kdjax.report.logs import Study

_TICKS = 10  # class names on an axis, at most


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
  """An exact transport plan between two clouds of the same images."""

  classes: np.ndarray  # [K], their labels
  mass: np.ndarray  # [K, K]: share of all mass, from row to column
  own_image: float  # share that stays on its own image


def plan(study: Study) -> Figure | None:
  """The plan of a student before training, alone, and distilled."""
  found = first_of_each_arm(study)
  teacher = found.get(study.arm_of_role('teacher') or '')
  arm = _distilled(study, found, teacher)
  if teacher is None or arm is None:
    return None
  clouds = {f'{arm}, trained': found[arm].embedding}
  alone = found.get(study.arm_of_role('student') or '')
  if alone is not None and alone.embedding.shape == teacher.embedding.shape:
    clouds = {'student alone, trained': alone.embedding, **clouds}
  if found[arm].before is not None:
    clouds = {'before training': found[arm].before, **clouds}
  figure = canvas.figure(0.9 + 3.5 * len(clouds), 4.1)
  panels = figure.subplots(1, len(clouds), squeeze=False)[0]
  for axes, (title, cloud) in zip(panels, clouds.items()):
    made = transport(cloud, teacher.embedding, teacher.labels)
    image = _draw(axes, made, title)
  panels[0].set_ylabel("from the student's images, by class")
  bar = figure.colorbar(image, ax=panels, shrink=0.7, pad=0.02)
  bar.set_label('share of the class', fontsize=9)
  bar.outline.set_visible(False)
  figure.set_label(_caption(len(teacher.labels)))
  return figure


def transport(
  student: np.ndarray, teacher: np.ndarray, labels: np.ndarray
) -> Plan:
  r"""The plan of least :math:`\sum \gamma_{ij} \lVert x_i - y_j \rVert^2`.

  Args:
    student: :math:`x`, `[N, D]`.
    teacher: :math:`y`, `[N, D]`, of the same images in the same order.
    labels: `[N]`.
  """
  rows, columns = linear_sum_assignment(_squared_distances(student, teacher))
  classes, place = np.unique(labels, return_inverse=True)
  mass = np.zeros((len(classes), len(classes)))
  np.add.at(mass, (place[rows], place[columns]), 1 / len(labels))
  return Plan(
    classes=classes, mass=mass, own_image=float(np.mean(rows == columns))
  )


def _squared_distances(x, y):
  x, y = x.astype(np.float64), y.astype(np.float64)
  centre = y.mean(axis=0)
  x, y = x - centre, y - centre
  squares = np.square(x).sum(1)[:, None] + np.square(y).sum(1)
  return np.maximum(squares - 2 * x @ y.T, 0)


def _distilled(
  study: Study, found: dict[str, Features], teacher: Features | None
) -> str | None:
  """The first distilled arm whose embeddings have the teacher's width."""
  for arm, features in found.items():
    role = study.arms[arm][0].role
    fits = teacher is not None and (
      features.embedding.shape == teacher.embedding.shape
    )
    if role == 'distilled' and fits:
      return arm
  return None


def _draw(axes: Axes, made: Plan, title: str):
  """Rows as shares of their class, so that rare classes are seen as well."""
  canvas.plain_axes(axes)
  axes.set_title(
    f'{title}\n{_percent(np.trace(made.mass))} stays in its class, '
    f'{_percent(made.own_image)} on its image',
    loc='left',
    fontsize=9.5,
    color=canvas.INK,
  )
  axes.grid(visible=False)
  shares = made.mass / made.mass.sum(axis=1, keepdims=True)
  image = axes.imshow(shares, cmap='Blues', vmin=0, vmax=1)
  count = len(made.classes)
  ticks = np.arange(0, count, -(-count // _TICKS))
  axes.set_xticks(ticks, made.classes[ticks].tolist())
  axes.set_yticks(ticks, made.classes[ticks].tolist())
  axes.set_xlabel("to the teacher's, by class")
  return image


def _percent(share: float) -> str:
  return f'{100 * share:.1f} %'


def _caption(images: int) -> str:
  return (
    "The cheapest way to carry the student's embeddings onto the teacher's: "
    'each image of the student goes to one of the teacher, so that the sum of '
    'squared distances is least. A row is a class of the student and shows '
    "where in the teacher's its images go; on the diagonal they stay in their "
    'class. The embeddings are taken as the networks give them, without '
    f'projection. {images} evaluation images, one seed.'
  )
