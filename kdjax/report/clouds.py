"""Scatter plots of students' and teacher's embeddings in one plane."""

import dataclasses

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from kdjax.report import canvas, projection
from kdjax.report.embeddings import Features, first_of_each_arm
from kdjax.report.logs import Study

_MAX_IMAGES = 600  # per panel; more points would hide one another
_BEFORE = 'before training'


def features(study: Study) -> Figure | None:
  """Draws the teacher, the student before training, and every trained student.

  Args:
    study: The study; the first seed with embeddings of each arm is drawn.

  Returns:
    The figure, or None without embeddings of the teacher and of a student.
  """
  students = first_of_each_arm(study)
  teacher = students.pop(study.arm_of_role('teacher') or '', None)
  if teacher is None or not students:
    return None
  rows = _rows_to_draw(teacher.labels)
  target = teacher.embedding[rows].astype(np.float64)
  scene = _Scene(
    plane=projection.principal_plane(target),
    features=target,
    labels=teacher.labels[rows],
  )
  panels = {'teacher': None, **_embeddings_by_title(students)}
  columns = 2 if len(panels) <= 4 else 3 if len(panels) <= 6 else 4
  lines = -(-len(panels) // columns)
  figure = canvas.figure(3.1 * columns + 1, 3.2 * lines)
  for index, (title, embedding) in enumerate(panels.items()):
    axes = figure.add_subplot(lines, columns, index + 1)
    canvas.plain_axes(axes, title)
    student = None if embedding is None else scene.project(embedding[rows])
    _draw(axes, scene, student)
    if not title.endswith(_BEFORE):  # classes are not separated yet
      _label_classes(axes, scene, scene.teacher if student is None else student)
  _legend(figure)
  figure.set_label(_caption(scene, students))
  return figure


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Scene:
  """The teacher's principal plane and the images drawn in it."""

  plane: projection.Plane
  features: np.ndarray  # [n, D], the teacher's embeddings
  labels: np.ndarray  # [n]

  @property
  def teacher(self) -> np.ndarray:
    """Coordinates `[n, 2]` of the teacher's embeddings."""
    return self.plane.project(self.features)

  def project(self, embedding: np.ndarray) -> np.ndarray:
    """Returns coordinates `[n, 2]`, after alignment if the widths differ."""
    embedding = embedding.astype(np.float64)
    if embedding.shape[1] == len(self.plane.mean):
      return self.plane.project(embedding)
    return self.plane.project(projection.align(embedding, self.features))

  def color(self, label: int) -> str:
    """Returns the color of a class."""
    classes = np.unique(self.labels).tolist()
    return canvas.CLASSES[classes.index(label) % len(canvas.CLASSES)]


def _embeddings_by_title(
  students: dict[str, Features],
) -> dict[str, np.ndarray]:
  """Returns the students' embeddings by panel title.

  If all students start from the same weights, one panel shows them before
  training; otherwise each arm has its own.
  """
  initial = [f.before for f in students.values() if f.before is not None]
  same = all(np.array_equal(initial[0], other) for other in initial)
  panels = {}
  if initial and same:
    panels[f'student {_BEFORE}'] = initial[0]
  for arm, student in students.items():
    if student.before is not None and not same:
      panels[f'{arm}, {_BEFORE}'] = student.before
    panels[f'{arm}, trained'] = student.embedding
  return panels


def _rows_to_draw(labels: np.ndarray) -> np.ndarray:
  """Returns evenly spaced row indices of images of the first ten classes."""
  classes = np.unique(labels)[: len(canvas.CLASSES)]
  rows = np.flatnonzero(np.isin(labels, classes))
  if len(rows) <= _MAX_IMAGES:
    return rows
  return rows[np.linspace(0, len(rows) - 1, _MAX_IMAGES).astype(int)]


def _draw(axes: Axes, scene: _Scene, student: np.ndarray | None) -> None:
  """Draws the teacher as rings, and the student as dots in front of them."""
  colors = [scene.color(label) for label in scene.labels.tolist()]
  axes.scatter(
    *scene.teacher.T,
    s=14,
    facecolors='none',
    edgecolors=colors,
    linewidths=0.6,
    alpha=0.9 if student is None else 0.5,
  )
  if student is not None:
    axes.scatter(*student.T, s=9, c=colors, linewidths=0, alpha=0.85)
  axes.set_aspect('equal', adjustable='datalim')
  axes.tick_params(labelsize=7)


def _label_classes(axes: Axes, scene: _Scene, points: np.ndarray) -> None:
  """Writes each class's label at the median of its points."""
  for label in np.unique(scene.labels).tolist():
    x, y = np.median(points[scene.labels == label], axis=0)
    axes.text(
      x,
      y,
      str(label),
      ha='center',
      va='center',
      fontsize=8,
      bbox={
        'boxstyle': 'circle,pad=0.15',
        'facecolor': 'white',
        'edgecolor': scene.color(label),
        'linewidth': 1,
      },
    )


def _legend(figure: Figure) -> None:
  teacher = Line2D([], [], marker='o', markerfacecolor='none', markersize=5)
  student = Line2D([], [], marker='o', markersize=4)
  for handle in (teacher, student):
    handle.set(linestyle='', color=canvas.INK)
  figure.legend(
    [teacher, student],
    ['teacher', 'student'],
    loc='outside lower center',
    ncols=2,
    frameon=False,
    fontsize=9,
  )


def _caption(scene: _Scene, students: dict[str, Features]) -> str:
  first, second = (f'{100 * share:.0f} %' for share in scene.plane.shares)
  text = (
    'Embeddings of evaluation images, colored and labeled by class: rings are '
    "the teacher's, dots the student's. The axes are the teacher's first two "
    f'principal components ({first} and {second} of its variance). '
  )
  width = len(scene.plane.mean)
  if all(f.embedding.shape[1] == width for f in students.values()):
    text += 'Students are drawn in the same axes, neither shifted nor scaled. '
  else:
    text += (
      "A student of another width is first aligned to the teacher's space: "
      'centered, rotated or reflected to minimize the distance image by image '
      '(orthogonal Procrustes), and scaled to the same size. Its shape can be '
      'compared, its position and size cannot. '
    )
  count = len(scene.labels)
  return f'{text}{count} images, one seed; each panel has its own scale.'
