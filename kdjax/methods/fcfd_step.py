"""FCFD's losses of a batch: bridges, appearance and both kinds of paths."""

# pyright: reportUnknownMemberType=false

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from kdjax import losses
from kdjax.features import Features
from kdjax.methods.bridges import Side, make_bridge
from kdjax.methods.fcfd_paths import Path
from kdjax.methods.passes import Pass
from kdjax.methods.sampled import if_chosen
from kdjax.typing import PyTree, Variables

Chosen = jax.Array | bool


class Step:
  """Losses of one batch.

  Args:
    variables: Variables of the bridges.
    student: The student's pass.
    teacher: The teacher's pass.
    weights: Weights of this epoch: `features` and `mixed`.
    temperature: Temperature of the soft targets of paths.
    train: Whether the bridges normalize with the batch.
  """

  def __init__(
    self,
    variables: Variables,
    student: Pass,
    teacher: Pass,
    weights: Mapping[str, jax.Array],
    temperature: float,
    train: bool = True,
  ):
    self.params, self.state = variables['params'], variables['state']
    self.student, self.teacher = student, teacher
    self.weights, self.temperature = weights, temperature
    self.train = train
    self.targets: Features = jax.lax.stop_gradient(teacher.features)
    self.stages = len(student.features.boundaries)

  def translate(self) -> tuple[list[Any], dict[str, PyTree]]:
    """Returns the student's features in the teacher's space.

    Returns:
      The features by stage, `None` for the stem, and the new running statistics
      of the bridges by name.
    """
    translated: list[Any] = [None]
    stats: dict[str, PyTree] = {}
    for i in range(1, self.stages):
      params = self.params['to_teacher'][stage_name(i)]
      features = self.student.features.boundaries[i]
      value, stats[stage_name(i)] = self.bridge(i, True, params, features)
      translated.append(value)
    return translated, stats

  def appearance(self, translated: Sequence[Any]) -> jax.Array:
    """Computes the weighted distance of translated features, `[]`.

    Args:
      translated: The student's features in the teacher's space, by stage.
    """
    last = self.teacher.tail(translated[-1], self.stages)
    total = sum(
      (self._distance(translated[i], i) for i in range(1, self.stages)),
      start=jnp.zeros(()),
    )
    return self.weights['features'] * (total + self._embedding_distance(last))

  def into_teacher(
    self, path: Path, chosen: Chosen, translated: Sequence[Any]
  ) -> jax.Array:
    """Computes the weighted loss of a path into the teacher, `[]`.

    The teacher's parameters and the targets are constants; the gradient flows
    into the bridge and the student's earlier stages.

    Args:
      path: The path.
      chosen: bool `[]`, whether this step takes it; the loss is 0 otherwise.
      translated: The student's features in the teacher's space, by stage.
    """

    def loss(hidden: jax.Array) -> tuple[jax.Array, tuple[()]]:
      features = self.teacher.tail(hidden, path.split + 1)
      later = range(path.split + 1, self.stages)
      total = sum(
        (self._distance(features.boundaries[i], i) for i in later),
        start=jnp.zeros(()),
      )
      total = total + self._embedding_distance(features)
      total = self.weights['features'] * total
      return total + self._soft_targets(features.logits), ()

    return if_chosen(chosen, loss, translated[path.split], ())[0]

  def into_student(
    self, path: Path, chosen: Chosen
  ) -> tuple[jax.Array, PyTree]:
    """Computes the weighted loss of a path into the student.

    It has soft targets only: features are not compared in the student's space.
    The gradient flows into the bridge and the student's later stages.

    Args:
      path: The path.
      chosen: bool `[]`, whether this step takes it.

    Returns:
      The loss, `[]`, 0 if not chosen, and the new running statistics of the
      bridge.
    """
    stage = stage_name(path.split)
    features = self.targets.boundaries[path.split]

    def loss(operands: tuple[PyTree, PyTree]) -> tuple[jax.Array, PyTree]:
      params, bridge = operands
      hidden, stats = self.bridge(path.split, False, bridge, features)
      variables = {**self.student.variables, 'params': params}
      logits = self.student.run_tail(variables, hidden, path.split + 1).logits
      return self._soft_targets(logits), stats

    operands = (
      self.student.variables['params'],
      self.params['to_student'][stage],
    )
    return if_chosen(chosen, loss, operands, self.state['to_student'][stage])

  def divergence(self, logits: jax.Array, temperature: float) -> jax.Array:
    """Computes the mean divergence from the teacher's soft targets, `[]`.

    Args:
      logits: `[B, K]`.
      temperature: Divisor of both logits.
    """
    return losses.soft_target_kl(
      logits, self.targets.logits, temperature=temperature
    ).mean()

  def bridge(
    self, stage: int, to_teacher: bool, params: PyTree, features: jax.Array
  ) -> tuple[jax.Array, PyTree]:
    """Returns translated features and new running statistics of a bridge.

    Args:
      stage: Index of the stage.
      to_teacher: Whether the source is the student.
      params: Parameters of the bridge.
      features: Features of the source at this stage.
    """
    ends = (_side(self.student, stage), _side(self.teacher, stage))
    source, destination = ends if to_teacher else ends[::-1]
    direction = 'to_teacher' if to_teacher else 'to_student'
    stats = self.state[direction][stage_name(stage)]
    bridge: Any = make_bridge(stage, source, destination)
    translated, updated = bridge.apply(
      {'params': params, 'batch_stats': stats},
      features,
      train=self.train,
      mutable=['batch_stats'],
    )
    return translated, updated['batch_stats']

  def _soft_targets(self, logits: jax.Array) -> jax.Array:
    """Computes the weighted divergence of a path's logits."""
    return self.weights['mixed'] * self.divergence(logits, self.temperature)

  def _distance(self, features: jax.Array, stage: int) -> jax.Array:
    """Computes the distance from the teacher's features at a stage."""
    return losses.mean_squared_error(
      features, self.targets.boundaries[stage]
    ).mean()

  def _embedding_distance(self, features: Features) -> jax.Array:
    """Computes the distance of the inputs of the teacher's classifier."""
    return losses.mean_squared_error(
      features.embedding, self.targets.embedding
    ).mean()


def stage_name(index: int) -> str:
  """Returns the key of a stage in the variables of the bridges."""
  return f'stage_{index}'


def _side(network: Pass, stage: int) -> Side:
  shape = network.features.boundaries[stage].shape[1:]
  return Side('', shape, network.boundary)
