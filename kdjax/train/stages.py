"""Training in two stages: the method's own parameters first, then everything.

Layers between two networks are initialized at random, so their gradients for
the student are noise at first. LSHFM's multi-label recipe trains them alone
first.
"""

import dataclasses
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
import tyro

from kdjax.features import LinearClassifier, NetworkSpec
from kdjax.methods import Context, Method, Updates
from kdjax.methods.base import Observations, TrainSpec, Walk
from kdjax.methods.passes import Pass
from kdjax.methods.schedules import Weight, zero_before
from kdjax.network import Network
from kdjax.train.optimizer import skip_zero_gradients, slower_body
from kdjax.train.recipe import Recipe
from kdjax.typing import Batch, PyTree, Terms, Variables


@tyro.conf.configure(tyro.conf.OmitArgPrefixes)
@dataclasses.dataclass(frozen=True, kw_only=True)
class StagedRecipe(Recipe):
  """A recipe with alignment epochs before its epochs.

  The student is frozen during these epochs, though its running statistics are
  updated, and the method trains its own parameters by its terms alone.
  Afterwards the optimizer state is reset. Both stages have the schedule of the
  recipe. A method without parameters skips the first stage.

  Attributes:
    every_step: Whether the learning rate changes every step; otherwise every
      epoch.
    align_epochs: Number of alignment epochs.
    align_factor: Factor of the method's terms in the alignment epochs (default:
      1 / the weight of the method, so that they have weight 1 there; 1 for a
      method whose weight is not one positive number).
    body_factor: Factor of the learning rate of all parameters of the student
      but its classifier: pretrained weights often move less than new ones.
  """

  every_step: bool = True
  align_epochs: int = 60
  align_factor: float | None = None
  body_factor: float = 1.0

  def __post_init__(self):
    """Checks the settings, which would otherwise fail during a run."""
    super().__post_init__()
    factor = 1.0 if self.align_factor is None else self.align_factor
    if self.align_epochs < 0 or not 0 < factor < math.inf:
      raise ValueError(
        'align_epochs must be zero or more and align_factor positive, got '
        f'{self.align_epochs} and {factor}.'
      )
    if not 0 <= self.body_factor < math.inf:
      raise ValueError(
        f'body_factor must be zero or more, got {self.body_factor}.'
      )

  @property
  def all_epochs(self) -> int:
    """Number of epochs of both stages."""
    return self.align_epochs + self.epochs

  def without_stages(self) -> 'StagedRecipe':
    """Returns this recipe without alignment epochs."""
    return dataclasses.replace(self, align_epochs=0, align_factor=None)

  def effective_align_factor(self, method: Method) -> float:
    """Returns the factor of a method's terms in the alignment epochs."""
    if self.align_factor is not None:
      return self.align_factor
    weight = getattr(method, 'weight', None)
    return 1 / weight if isinstance(weight, int | float) and weight > 0 else 1.0

  def staged(self, method: Method) -> Method:
    """Returns the method, aligned first."""
    if not self.align_epochs:
      return method
    factor = self.effective_align_factor(method)
    return aligned(method, self.align_epochs, factor)

  def learning_rate_at(self, epoch: jax.typing.ArrayLike) -> jax.Array:
    """Returns the learning rate of an epoch, float32."""
    epoch = jnp.asarray(epoch)
    rate = self._rate(epoch - self.align_epochs, self.epochs)
    if not self.align_epochs:
      return rate
    aligning = self._rate(epoch, self.align_epochs)
    return jnp.where(epoch < self.align_epochs, aligning, rate)

  def optimizer(
    self, steps_per_epoch: int, student: Network, method: Method
  ) -> optax.GradientTransformation:
    """Returns the optimizer; see `Recipe.optimizer`."""
    optimizer = super().optimizer(steps_per_epoch, student, method)
    if self.align_epochs:
      # Parameters that the task alone trains have no gradient yet.
      steps = self.align_epochs * steps_per_epoch
      optimizer = skip_zero_gradients(optimizer, steps)
    return slower_body(optimizer, student, self.body_factor)

  def _rate_at_step(self, step: jax.Array, steps_per_epoch: int) -> jax.Array:
    if self.every_step:
      return self.learning_rate_at(step / steps_per_epoch)
    return super()._rate_at_step(step, steps_per_epoch)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Aligned(Method):
  """A method whose parameters are trained alone in the first epochs.

  Attributes:
    method: The method.
    epochs: Number of these epochs.
    factor: Factor of the method's terms in them.
  """

  method: Method
  epochs: int
  factor: float

  @property
  def needs_teacher(self) -> bool:  # pyright: ignore
    """That of the method."""
    return self.method.needs_teacher

  @property
  def teacher_mode(self) -> Literal['eval', 'train']:  # pyright: ignore
    """That of the method."""
    return self.method.teacher_mode

  @property
  def teacher_reads(self) -> Literal['features', 'outputs']:  # pyright: ignore
    """That of the method."""
    return self.method.teacher_reads

  @property
  def stage_starts(self) -> tuple[int, ...]:
    """The end of the alignment, and those of the method."""
    return (self.epochs, *self.method.stage_starts)

  def init(
    self,
    key: jax.Array,
    student: NetworkSpec,
    teacher: NetworkSpec,
    data: TrainSpec,
  ) -> Variables:
    """Returns the variables of the method."""
    return self.method.init(key, student, teacher, data)

  def prepare(
    self,
    variables: Variables,
    walk: Walk,
    classifier: LinearClassifier | None,
    key: jax.Array,
  ) -> Variables:
    """Prepares the method."""
    return self.method.prepare(variables, walk, classifier, key)

  def terms(
    self,
    variables: Variables,
    student: Pass,
    teacher: Pass,
    batch: Batch,
    context: Context,
  ) -> tuple[Terms, Updates]:
    """Computes the terms of the method, with the student frozen at first."""
    terms, updates = self.method.terms(
      variables, student, teacher, batch, context
    )
    aligning = context.epoch < self.epochs
    factor = jnp.where(aligning, self.factor, 1.0)
    active = ~aligning & updates.student_active
    return (
      {name: factor * term for name, term in terms.items()},
      dataclasses.replace(updates, student_active=active),
    )

  def observe(
    self, variables: Variables, student: Pass, teacher: Pass, batch: Batch
  ) -> Observations:
    """Computes the log lines of the method."""
    return self.method.observe(variables, student, teacher, batch)

  @property
  def observes(self) -> bool:
    """Whether the method observes."""
    return self.method.observes

  def predicting(
    self, variables: Variables, student: Pass, teacher: Pass | None
  ) -> tuple[Pass, PyTree]:
    """Predicts through the method."""
    return self.method.predicting(variables, student, teacher)

  @property
  def predicts(self) -> bool:
    """Whether the method predicts through its parts."""
    return self.method.predicts

  def export(
    self,
    variables: Variables,
    student: tuple[Network, Any],
    teacher: tuple[Network, Any] | None,
  ) -> tuple[Network, Any]:
    """Exports through the method."""
    return self.method.export(variables, student, teacher)


def aligned(method: Method, epochs: int, factor: float) -> Aligned:
  """Returns the method with its parameters trained alone at first.

  Args:
    method: The method.
    epochs: Number of epochs in which the student is frozen.
    factor: Factor of the method's terms in them.
  """
  weight: Weight = zero_before(method.task_weight, epochs)
  return Aligned(
    task_weight=weight, method=method, epochs=epochs, factor=factor
  )
