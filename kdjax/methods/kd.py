"""Hinton's distillation of softened classes."""

import dataclasses

from kdjax import losses
from kdjax.methods.base import Method, Updates, check_positive
from kdjax.methods.schedules import Weight, check_weight, value_at


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kd(Method):
  """Soft targets at a temperature; see `kdjax.losses.soft_target_kl`.

  Hinton, Vinyals and Dean, 2015. Alone it takes the field's weights, 0.1 for
  the task and 0.9 for the targets; beside another method both are 1.
  """

  task_weight: Weight = 0.1
  weight: Weight = 0.9
  temperature: float = 4.0

  teacher_reads = 'outputs'

  def __post_init__(self):
    """Checks the settings."""
    super().__post_init__()
    check_weight('Kd', 'weight', self.weight)
    check_positive(self, 'temperature')

  def combined(self) -> 'Kd':
    """The field's "+KD": both weights 1."""
    return dataclasses.replace(self, task_weight=1.0, weight=1.0)

  def terms(self, variables, student, teacher, batch, context):
    """The batch's mean divergence, as `kd`."""
    del variables, batch
    divergence = losses.soft_target_kl(
      student.features.logits,
      teacher.features.logits,
      temperature=self.temperature,
    )
    weight = value_at(self.weight, context.epoch)
    return {'kd': weight * divergence.mean()}, Updates()
