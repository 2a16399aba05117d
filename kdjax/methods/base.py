"""What a distillation method is: settings, trainable parts, named terms."""

import copy
import dataclasses
import typing
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, ClassVar, Literal

import jax
from flax import struct

from kdjax.features import Boundary, Features, LinearClassifier, NetworkSpec
from kdjax.methods.schedules import Weight, check_weight
from kdjax.names import unknown
from kdjax.typing import PyTree

Terms = dict[str, jax.Array]
Observations = dict[str, dict[str, jax.Array]]
TrainedPart = Literal['none', 'body', 'all']


@struct.dataclass
class Pass:
  """A network's features on this batch, and the way back into the network.

  Attributes:
    features: Of the images of this step.
    variables: The network's; the student's are those that are differentiated.
    run_tail: `(variables, hidden, start) -> Features`; see `tail`.
    run_head: `(variables, embedding) -> logits`; see `head`.
    has_head: False for a network that does not say what its classifier is;
      `head` then raises.
    boundary: The network's kind of boundary.
  """

  features: Features
  variables: PyTree
  run_tail: Callable[[PyTree, jax.Array, int], Features] = struct.field(
    pytree_node=False
  )
  run_head: Callable[[PyTree, jax.Array], jax.Array] = struct.field(
    pytree_node=False
  )
  has_head: bool = struct.field(pytree_node=False, default=True)
  boundary: Boundary = struct.field(pytree_node=False, default='post_relu')

  def tail(self, hidden: jax.Array, start: int) -> Features:
    """Features of the stages from `start` on, in the mode the network is in.

    Differentiable in `hidden`, and for the student in its parameters too. The
    running statistics are left alone.
    """
    return self.run_tail(self.variables, hidden, start)

  def head(self, embedding: jax.Array) -> jax.Array:
    """Logits `[B, K]` of whatever embeddings `[B, D]`; see `tail`."""
    return self.run_head(self.variables, embedding)

  def with_head(self, head: Callable[[jax.Array], jax.Array]) -> 'Pass':
    """The same pass with another classifier on the network's embedding."""

    def classified(features: Features) -> Features:
      logits = head(features.embedding)
      return dataclasses.replace(features, logits=logits)

    return dataclasses.replace(
      self,
      features=classified(self.features),
      run_tail=lambda *given: classified(self.run_tail(*given)),
      run_head=lambda _, embedding: head(embedding),
      has_head=True,
    )


@struct.dataclass
class Context:
  """Where in training a step stands.

  Attributes:
    step: int32 `[]`, from 0.
    epoch: float32 `[]`, whole epochs done before this step.
    key: A key of this step's own.
  """

  step: jax.Array
  epoch: jax.Array
  key: jax.Array


@struct.dataclass
class Updates:
  """What a step of a method leaves behind besides gradients.

  Attributes:
    state: The method's untrained variables afterwards (memories, running
      statistics), of the structure `init` gave; `None` leaves them as they are.
    active: A tree prefix of the method's parameters, of bool `[]`; where false,
      a parameter and its momentum are left untouched by this step. `None`
      means that all take part.
    student: What of the student's own parameters took part: `body` is all but
      its classifier. Its running statistics move in any case.
  """

  state: PyTree = None
  active: PyTree = None
  student: TrainedPart = struct.field(pytree_node=False, default='all')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method:
  """Base of all methods: the defaults of what only some papers need.

  A method is a frozen dataclass whose fields are the paper's settings. Besides
  `terms` everything here is optional to override.

  Attributes:
    task_weight: Factor of the supervised loss in what is minimised; may be
      steps by epoch.
  """

  task_weight: Weight = 1.0

  needs_teacher: ClassVar[bool] = True
  # 'train' for papers whose teacher normalises with the batch: its running
  # statistics then drift and are part of the training state.
  teacher_mode: ClassVar[Literal['eval', 'train']] = 'eval'
  # 'outputs' for methods whose `terms` and `predicting` read nothing of the
  # teacher but its logits and its embedding: these may come from a table.
  teacher_reads: ClassVar[Literal['features', 'outputs']] = 'features'

  def __post_init__(self):
    """Checks the settings every method has."""
    check_weight(type(self).__name__, 'task_weight', self.task_weight)

  def with_numbers(self, numbers: Mapping[str, Any]) -> 'Method':
    """The same with other numbers, which may be known inside jit only.

    They are not checked: whoever gives them has made a method of such numbers.

    Args:
      numbers: Settings by name; `kd.weight` is one of a part of a combination.

    Raises:
      ValueError: If a setting is none, or no number.
    """
    changed = copy.copy(self)
    for path, value in numbers.items():
      name, _, rest = path.partition('.')
      part = getattr(changed, name, None)
      if rest and isinstance(part, Method):
        value = part.with_numbers({rest: value})
      elif rest or name not in self._floats():
        raise ValueError(
          f'{path} of {type(self).__name__} is no setting that may be any '
          f'number; these are {", ".join(self._floats())}.'
        )
      object.__setattr__(changed, name, value)  # it is frozen, and ours
    return changed

  @classmethod
  def _floats(cls) -> list[str]:
    """The settings that may be any number."""
    kinds = typing.get_type_hints(cls)
    return [
      field.name
      for field in dataclasses.fields(cls)
      if float in (kinds[field.name], *typing.get_args(kinds[field.name]))
    ]

  def combined(self) -> 'Method':
    """The defaults this method has beside another one (`kd+kd2m`)."""
    return self

  def init(
    self, key: jax.Array, student: NetworkSpec, teacher: NetworkSpec
  ) -> dict[str, PyTree]:
    """`{'params': trained with the student, 'state': carried along}`.

    Raises:
      ValueError: If the method cannot serve this pair of networks.
    """
    del key, student, teacher
    return {'params': {}, 'state': {}}

  def prepare(
    self,
    variables: dict[str, PyTree],
    passes: Callable[[], Iterator[tuple[Features, Mapping[str, jax.Array]]]],
    classifier: LinearClassifier | None,
    key: jax.Array,
  ) -> dict[str, PyTree]:
    """Variables after a look at the teacher's features, before step 0.

    Args:
      variables: What `init` gave.
      passes: Each call gives one walk over the training set, unaugmented and in
        order: the teacher's features and the batch.
      classifier: The teacher's, if it is linear and known.
      key: For what is drawn at random.
    """
    del passes, classifier, key
    return variables

  def terms(
    self,
    variables: dict[str, PyTree],
    student: Pass,
    teacher: Pass,
    batch: Mapping[str, jax.Array],
    context: Context,
  ) -> tuple[Terms, Updates]:
    """Named scalars, weighted, that add up to what the method minimises.

    Args:
      variables: The method's own, as `init` gave and training moved them.
      student: Its pass as `predicting` gives it; gradients flow through it.
      teacher: Its pass; nothing of it is trained.
      batch: `label` int32 `[B]`, `index` int32 `[B]` (place in the training
        set), `image` float32 `[B, H, W, C]` in [0, 1] as both networks saw it.
      context: Step, epoch and key.
    """
    raise NotImplementedError

  def observe(
    self,
    variables: dict[str, PyTree],
    student: Pass,
    teacher: Pass,
    batch: Mapping[str, jax.Array],
  ) -> Observations:
    """What the method wants logged of evaluation images; minimises nothing.

    Called before the first step and at each evaluation, on the first images of
    the evaluation set, all at once, with the student in evaluation mode and the
    teacher in the mode it teaches in.

    Args:
      variables: The method's own.
      student: The pass of the student as it is evaluated.
      teacher: Its teacher's, of the same images.
      batch: `label`, `index` (place in the evaluation set) and `image`, as in
        `terms`.

    Returns:
      By kind of line in `metrics.jsonl`, scalars by name. What is not finite is
      left out of the line.
    """
    del variables, student, teacher, batch
    return {}

  @property
  def observes(self) -> bool:
    """Whether `observe` has anything to say; else it is never called."""
    return type(self).observe is not Method.observe

  def predicting(
    self, variables: dict[str, PyTree], student: Pass, teacher: Pass | None
  ) -> Pass:
    """The student's pass with the logits it predicts by.

    For methods whose student predicts through parts of theirs: the task loss,
    the terms of this and of other methods, and evaluation all see this pass.
    """
    del variables, teacher
    return student

  @property
  def predicts(self) -> bool:
    """Whether the student predicts through parts of the method."""
    return type(self).predicting is not Method.predicting

  def export(
    self,
    variables: dict[str, PyTree],
    student: PyTree,
    with_classifier: Callable[[PyTree, LinearClassifier], PyTree],
  ) -> PyTree:
    """The student's variables as a plain network that predicts the same.

    Args:
      variables: The method's own.
      student: The student's.
      with_classifier: A network's variables with another classifier.
    """
    del variables, with_classifier
    return student


def check_not_negative(settings: Any, *names: str) -> None:
  """Raises a `ValueError` that names the setting which is below zero or NaN."""
  for name in names:
    value = getattr(settings, name)
    if not value >= 0:
      raise ValueError(
        f'{name} of {type(settings).__name__} must be zero or more, got '
        f'{value}.'
      )


def check_positive(settings: Any, *names: str) -> None:
  """Raises a `ValueError` that names the setting which is not above zero."""
  for name in names:
    value = getattr(settings, name)
    if not value > 0:
      raise ValueError(
        f'{name} of {type(settings).__name__} must be positive, got {value}.'
      )


def check_choice(settings: Any, name: str, known: Collection[str]) -> None:
  """Raises a `ValueError` that names the setting and what it may be."""
  value = getattr(settings, name)
  if value not in known:
    raise ValueError(
      unknown(f'{name} of {type(settings).__name__}', value, known)
    )
