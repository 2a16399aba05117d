"""KD: the teacher's softened class probabilities as targets."""

import dataclasses

from kdjax import losses
from kdjax.methods.base import Context, Method, Updates
from kdjax.methods.passes import Pass
from kdjax.methods.schedules import Weight, check_weight, value_at
from kdjax.methods.settings import check_positive
from kdjax.typing import Batch, Terms, Variables


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kd(Method):
  r"""Knowledge distillation by soft targets.

  The loss is

  .. math::
    w_{task} L_{task} + w \, T^2 \, \mathrm{KL}(p^t_T \| p^s_T)

  with the class probabilities :math:`p_T` of both networks at temperature
  :math:`T`; see `kdjax.losses.soft_target_kl`. Hinton, Vinyals and Dean,
  Distilling the Knowledge in a Neural Network, 2015,
  https://arxiv.org/abs/1503.02531.

  Attributes:
    task_weight: Weight of the task loss (default: 0.1; 1 in combinations):
      a number, or pairs of an epoch, from 0, and the value from that epoch on.
    weight: Weight of the soft targets (default: 0.9; 1 in combinations): a
      number, or pairs of an epoch, from 0, and the value from that epoch on.
    temperature: Divisor of both networks' logits before the softmax.
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
    """Returns this method with both weights 1."""
    return dataclasses.replace(self, task_weight=1.0, weight=1.0)

  def terms(
    self,
    variables: Variables,
    student: Pass,
    teacher: Pass,
    batch: Batch,
    context: Context,
  ) -> tuple[Terms, Updates]:
    """Computes `kd`, the weighted batch mean; see `Method.terms`."""
    del variables, batch
    divergence = losses.soft_target_kl(
      student.features.logits,
      teacher.features.logits,
      temperature=self.temperature,
    )
    weight = value_at(self.weight, context.epoch)
    return {'kd': weight * divergence.mean()}, Updates()
