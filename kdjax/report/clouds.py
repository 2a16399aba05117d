"""Features of students and teacher in one plane, before training and after."""

import dataclasses

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from kdjax.report import canvas, projection
from kdjax.report.embeddings import Features, first_of_each_arm
from kdjax.report.logs import Study

_IMAGES = 600  # drawn of each cloud; more would hide one another
_BEFORE = 'before training'


def features(study: Study) -> Figure | None:
  """The teacher, the student before training, and every student after it."""
  found = first_of_each_arm(study)
  teacher = found.pop(study.arm_of_role('teacher') or '', None)
  if teacher is None or not found:
    return None
  rows = _drawn(teacher.labels)
  target = teacher.embedding[rows].astype(np.float64)
  scene = _Scene(
    plane=projection.principal_plane(target),
    features=target,
    labels=teacher.labels[rows],
  )
  panels = {'teacher': None, **_panels(found)}
  columns = 2 if len(panels) <= 4 else 3 if len(panels) <= 6 else 4
  lines = -(-len(panels) // columns)
  figure = canvas.figure(3.1 * columns + 1, 3.2 * lines)
  for index, (title, cloud) in enumerate(panels.items()):
    axes = figure.add_subplot(lines, columns, index + 1)
    canvas.plain_axes(axes, title)
    points = scene.teacher if cloud is None else scene.place(cloud[rows])
    _draw(axes, scene, None if cloud is None else points)
    if not title.endswith(_BEFORE):  # classes have no places yet
      _name_classes(axes, scene, points)
  _legend(figure)
  figure.set_label(_caption(scene, found))
  return figure


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Scene:
  """The teacher's plane and what stands on it."""

  plane: projection.Plane
  features: np.ndarray  # [n, D], the teacher's
  labels: np.ndarray  # [n]

  @property
  def teacher(self) -> np.ndarray:
    return self.plane.project(self.features)

  def place(self, cloud: np.ndarray) -> np.ndarray:
    cloud = cloud.astype(np.float64)
    if cloud.shape[1] == len(self.plane.mean):
      return self.plane.project(cloud)
    return self.plane.project(projection.align(cloud, self.features))

  def color(self, label) -> str:
    classes = np.unique(self.labels).tolist()
    return canvas.CLASSES[classes.index(label) % len(canvas.CLASSES)]


def _panels(students: dict[str, Features]) -> dict[str, np.ndarray]:
  """Clouds by title; one before training where all students start alike."""
  starts = [f.before for f in students.values() if f.before is not None]
  alike = all(np.array_equal(starts[0], start) for start in starts)
  panels = {}
  if starts and alike:
    panels[f'student {_BEFORE}'] = starts[0]
  for arm, found in students.items():
    if found.before is not None and not alike:
      panels[f'{arm}, {_BEFORE}'] = found.before
    panels[f'{arm}, trained'] = found.embedding
  return panels


def _drawn(labels: np.ndarray) -> np.ndarray:
  """Rows to draw: of the first ten classes, spread evenly over the set."""
  classes = np.unique(labels)[: len(canvas.CLASSES)]
  rows = np.flatnonzero(np.isin(labels, classes))
  if len(rows) <= _IMAGES:
    return rows
  return rows[np.linspace(0, len(rows) - 1, _IMAGES).astype(int)]


def _draw(axes: Axes, scene: _Scene, points: np.ndarray | None) -> None:
  """The teacher's rings, alone or faintly behind the student's dots."""
  colors = [scene.color(label) for label in scene.labels.tolist()]
  axes.scatter(
    *scene.teacher.T,
    s=14,
    facecolors='none',
    edgecolors=colors,
    linewidths=0.6,
    alpha=0.9 if points is None else 0.5,
  )
  if points is not None:
    axes.scatter(*points.T, s=9, c=colors, linewidths=0, alpha=0.85)
  axes.set_aspect('equal', adjustable='datalim')
  axes.tick_params(labelsize=7)


def _name_classes(axes: Axes, scene: _Scene, points: np.ndarray) -> None:
  """Each class's label at its median."""
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
    'Embeddings of evaluation images, coloured and marked by class: rings are '
    "the teacher's, dots the student's. The axes are the teacher's first two "
    f'principal components ({first} and {second} of its variance). '
  )
  width = len(scene.plane.mean)
  if all(found.embedding.shape[1] == width for found in students.values()):
    text += 'Students are drawn in the same axes, neither moved nor scaled. '
  else:
    text += (
      "A student of another width is moved into the teacher's space first: "
      'centred there, turned or reflected to lie nearest image by image '
      '(Procrustes), and scaled to the same size. Its shape can be compared, '
      'its place and size cannot. '
    )
  count = len(scene.labels)
  return f'{text}{count} images, one seed; each panel has a scale of its own.'
