"""The contract of a distillation method: settings, parts and loss terms."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal

import jax
from flax import struct

from kdjax.features import LinearClassifier, NetworkSpec
from kdjax.methods import settings
from kdjax.methods.passes import Pass
from kdjax.methods.schedules import Weight, check_weight
from kdjax.methods.setting_types import check_types
from kdjax.network import Network
from kdjax.typing import Batch, PyTree, Terms, Variables

# `walk(read)` runs the teacher once over the training images, in order and
# unaugmented, and yields the results of `read(features, batch)` for each batch,
# on the host. `read` is compiled: only its results are stored.
Read = Callable[[Any, Batch], PyTree]
Walk = Callable[[Read], Iterator[PyTree]]
Observations = dict[str, dict[str, jax.Array]]
StudentPart = Literal['body', 'all']


@struct.dataclass
class Context:
  """Position of a step in training.

  Attributes:
    step: int32 `[]`, steps completed before this one.
    epoch: float32 `[]`, epochs completed before this step.
    key: Random key of this step.
  """

  step: jax.Array
  epoch: jax.Array
  key: jax.Array


@dataclasses.dataclass(frozen=True, eq=False)
class TrainSpec:
  """The training data as a method may know it before training.

  Attributes:
    num_images: Number of training images; `batch['index']` is below it.
    labels: Their labels, a tree of arrays with one row per image.
    num_classes: Number of classes.
  """

  num_images: int
  labels: PyTree
  num_classes: int


@struct.dataclass
class Updates:
  """Results of a method's step besides its loss terms.

  Attributes:
    state: New untrained variables (memories, running statistics), of the
      structure that `init` returned; `None` keeps the old ones.
    active: A tree prefix of the method's parameters, of bool `[]`: parameters
      that are not active keep their value and momentum in this step. `None`
      means all are active.
    student_active: bool `[]`: whether the student's parameters are active.
    student: Which of the student's parameters are ever trained: `body` excludes
      its classifier.
  """

  state: PyTree = None
  active: PyTree = None
  student_active: jax.Array | bool = True
  student: StudentPart = struct.field(pytree_node=False, default='all')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method:
  """Base class of distillation methods.

  A method is a frozen dataclass whose fields are the settings of its paper. It
  is a pytree: settings annotated with `float` are its leaves. Only `terms` must
  be overridden.

  Attributes:
    task_weight: Weight of the task loss: a number, or pairs of an epoch, from
      0, and the value from that epoch on.
  """

  task_weight: Weight = 1.0

  needs_teacher: ClassVar[bool] = True
  # 'train' if the teacher normalizes with the batch: its running statistics
  # then change and are part of the training state.
  teacher_mode: ClassVar[Literal['eval', 'train']] = 'eval'
  # 'outputs' if `terms` and `predicting` read nothing of the teacher but its
  # logits and embedding, which may then come from a table.
  teacher_reads: ClassVar[Literal['features', 'outputs']] = 'features'
  is_settings: ClassVar[bool] = True

  def __init_subclass__(cls, **kwargs: Any):
    super().__init_subclass__(**kwargs)
    settings.register(cls)

  def __post_init__(self):
    """Checks the types of all settings, and those that every method has."""
    check_types(self)
    check_weight(type(self).__name__, 'task_weight', self.task_weight)

  @property
  def stage_starts(self) -> tuple[int, ...]:
    """Epochs at which a new stage of training begins.

    The optimizer's state is reset there. For methods of several stages, whose
    `task_weight`, `terms` and `Updates` depend on the epoch.
    """
    return ()

  def combined(self) -> 'Method':
    """Returns this method with its defaults in combinations (`kd+kd2m`)."""
    return self

  def init(
    self,
    key: jax.Array,
    student: NetworkSpec,
    teacher: NetworkSpec,
    data: TrainSpec,
  ) -> Variables:
    """Returns the method's variables before the first step.

    Args:
      key: Random key.
      student: Shapes of the student.
      teacher: Shapes of the teacher.
      data: The training data.

    Returns:
      `{'params': trained with the student, 'state': carried along}`.

    Raises:
      ValueError: If the method cannot serve this pair of networks or data.
    """
    del key, student, teacher, data
    return {'params': {}, 'state': {}}

  def prepare(
    self,
    variables: Variables,
    walk: Walk,
    classifier: LinearClassifier | None,
    key: jax.Array,
  ) -> Variables:
    """Returns the variables after reading the teacher's features.

    Called once before the first step; never for a run that is resumed.

    Args:
      variables: Result of `init`.
      walk: Runs the teacher over the training images; see `Walk`.
      classifier: The teacher's classifier; `None` if it is not linear or not
        declared.
      key: Random key.
    """
    del walk, classifier, key
    return variables

  def terms(
    self,
    variables: Variables,
    student: Pass,
    teacher: Pass,
    batch: Batch,
    context: Context,
  ) -> tuple[Terms, Updates]:
    """Computes the loss terms of a batch.

    Args:
      variables: The method's variables.
      student: The student's pass as `predicting` returned it; gradients flow
        through it.
      teacher: The teacher's pass; nothing of it is trained.
      batch: `label`, `index` int32 `[B]` (row in the training data) and `image`
        float32 `[B, H, W, C]` in [0, 1], as both networks saw it.
      context: Step, epoch and random key.

    Returns:
      Weighted scalars by name, which are added to the loss, and `Updates`.
    """
    raise NotImplementedError

  def observe(
    self, variables: Variables, student: Pass, teacher: Pass, batch: Batch
  ) -> Observations:
    """Computes log lines of the method on evaluation images.

    Called before the first step and at each evaluation, on the first images of
    the evaluation data in one batch, with the student in evaluation mode and
    the teacher in the mode in which it teaches.

    Args:
      variables: The method's variables.
      student: Pass of the student as it is evaluated.
      teacher: Pass of the teacher over the same images.
      batch: `label`, `index` (row in the evaluation data) and `image`, as in
        `terms`.

    Returns:
      Scalars by name, for each kind of line in `metrics.jsonl`. Values that
      are not finite are left out of the line.
    """
    del variables, student, teacher, batch
    return {}

  @property
  def observes(self) -> bool:
    """Whether `observe` is overridden; it is never called otherwise."""
    return type(self).observe is not Method.observe

  def predicting(
    self, variables: Variables, student: Pass, teacher: Pass | None
  ) -> tuple[Pass, PyTree]:
    """Returns the student's pass with the predictions it is evaluated by.

    For methods whose student predicts through parts of the method. The task
    loss, the terms of all methods and the evaluation read this pass.

    Args:
      variables: The method's variables.
      student: The student's pass; `student.train` tells the mode.
      teacher: The teacher's pass, where there is one.

    Returns:
      The pass, and the method's new untrained variables (running statistics of
      such parts in training mode); `None` keeps the old ones.
    """
    del variables, teacher
    return student, None

  @property
  def predicts(self) -> bool:
    """Whether the student predicts through parts of the method."""
    return type(self).predicting is not Method.predicting

  def export(
    self,
    variables: Variables,
    student: tuple[Network, PyTree],
    teacher: tuple[Network, PyTree] | None,
  ) -> tuple[Network, PyTree]:
    """Returns a network that predicts like the student in evaluation.

    Args:
      variables: The method's variables.
      student: The student and its variables.
      teacher: The teacher and its variables, where there is one.

    Returns:
      The network and its variables, which can be saved, loaded and exported.
    """
    del variables, teacher
    return student
