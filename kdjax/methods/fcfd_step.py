"""One step of FCFD: bridges, appearance, and both kinds of paths."""

from typing import Any

import jax

from kdjax import losses
from kdjax.features import Features
from kdjax.methods.base import Pass
from kdjax.methods.bridges import Side, make_bridge
from kdjax.methods.sampled import if_chosen
from kdjax.typing import PyTree


class Step:
  """What one step of FCFD computes.

  Args:
    method: The settings.
    variables: Of the bridges.
    student: Its pass.
    teacher: Its pass.
    weights: Of this epoch: `features` and `mixed`.
    train: The mode the bridges are in.
  """

  def __init__(self, method, variables, student, teacher, weights, train=True):
    self.method = method
    self.params, self.state = variables['params'], variables['state']
    self.student, self.teacher = student, teacher
    self.weights = weights
    self.train = train
    self.targets: Features = jax.lax.stop_gradient(teacher.features)
    self.stages = len(student.features.boundaries)

  def translate(self) -> tuple[list[Any], dict[str, PyTree]]:
    """The student's features in the teacher's space, by stage; statistics."""
    translated: list[Any] = [None]
    stats = {}
    for i in range(1, self.stages):
      params = self.params['to_teacher'][stage_name(i)]
      features = self.student.features.boundaries[i]
      value, stats[stage_name(i)] = self.bridge(i, True, params, features)
      translated.append(value)
    return translated, stats

  def appearance(self, translated) -> jax.Array:
    """The weighted distance of all translated features to the teacher's."""
    last = self.teacher.tail(translated[-1], self.stages)
    total = sum(self._distance(translated[i], i) for i in range(1, self.stages))
    return self.weights['features'] * (total + self._pooled(last))

  def into_teacher(self, path, chosen, translated) -> jax.Array:
    """The weighted terms of the teacher's later stages on translated features.

    Its parameters and targets are constants; the gradient goes back into the
    bridge and the student's earlier stages.
    """

    def branch(hidden):
      features = self.teacher.tail(hidden, path.split + 1)
      later = range(path.split + 1, self.stages)
      total = sum(self._distance(features.boundaries[i], i) for i in later)
      total = self.weights['features'] * (total + self._pooled(features))
      return total + self._mixed(features.logits), ()

    return if_chosen(chosen, branch, translated[path.split], ())[0]

  def into_student(self, path, chosen) -> tuple[jax.Array, PyTree]:
    """The weighted term of the student's later stages on teacher's features.

    Soft targets alone: no feature is compared in the student's space. The
    gradient goes to the bridge and to those later stages.
    """
    stage = stage_name(path.split)
    features = self.targets.boundaries[path.split]

    def branch(operands):
      params, bridge = operands
      hidden, stats = self.bridge(path.split, False, bridge, features)
      variables = {**self.student.variables, 'params': params}
      logits = self.student.run_tail(variables, hidden, path.split + 1).logits
      return self._mixed(logits), stats

    operands = (
      self.student.variables['params'],
      self.params['to_student'][stage],
    )
    return if_chosen(chosen, branch, operands, self.state['to_student'][stage])

  def divergence(self, logits, temperature) -> jax.Array:
    """KL_T of the teacher's classes from these, the batch's mean."""
    return losses.soft_target_kl(
      logits, self.targets.logits, temperature=temperature
    ).mean()

  def _mixed(self, logits):
    temperature = self.method.mixed_temperature or self.method.temperature
    return self.weights['mixed'] * self.divergence(logits, temperature)

  def _distance(self, features, stage):
    return losses.mean_squared_error(
      features, self.targets.boundaries[stage]
    ).mean()

  def _pooled(self, features: Features):
    # What the classifier reads: rectified and averaged over the image.
    return losses.mean_squared_error(
      features.embedding, self.targets.embedding
    ).mean()

  def bridge(self, stage, to_teacher, params, features):
    """Translated features, and the bridge's running statistics afterwards."""
    ends = (_side(self.student, stage), _side(self.teacher, stage))
    source, destination = ends if to_teacher else ends[::-1]
    way = 'to_teacher' if to_teacher else 'to_student'
    stats = self.state[way][stage_name(stage)]
    bridge = make_bridge(stage, source, destination)
    translated, updated = bridge.apply(
      {'params': params, 'batch_stats': stats},
      features,
      train=self.train,
      mutable=['batch_stats'],
    )
    return translated, updated['batch_stats']


def stage_name(index: int) -> str:
  """What the variables of a stage are called."""
  return f'stage_{index}'


def _side(network: Pass, stage: int) -> Side:
  shape = network.features.boundaries[stage].shape[1:]
  return Side('', shape, network.boundary)
