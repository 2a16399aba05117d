"""KD²M: the distribution of the student's embeddings matches the teacher's."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp

from kdjax import losses
from kdjax.features import NetworkSpec
from kdjax.methods import kd2m_bound
from kdjax.methods.base import (
  Context,
  Method,
  Observations,
  TrainSpec,
  Updates,
)
from kdjax.methods.kd2m_metrics import (
  METRICS,
  SOLVERS,
  UNITLESS,
  WEIGHTS,
  Samples,
  distance,
)
from kdjax.methods.linear import apply_linear, init_linear
from kdjax.methods.passes import Pass
from kdjax.methods.schedules import Weight, check_weight, value_at
from kdjax.methods.settings import check_not_negative, check_positive
from kdjax.names import unknown
from kdjax.typing import Batch, Terms, Variables

# Default weight of the released code.
_RELEASED_WEIGHT = 1e-4

_CHOICES = {
  'metric': METRICS,
  'scale': ('none', 'teacher_var'),
  'projection': ('none', 'linear'),
  'statistics': ('global', 'local'),
  'aggregation': losses.AGGREGATIONS,
  'label_cost': losses.LABEL_COSTS,
  'solver': SOLVERS,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kd2m(Method):
  r"""Distillation by matching the distributions of embeddings.

  The loss is

  .. math::
    L_{task} + \lambda \, D(P_S, P_T)

  with a distance :math:`D` between the embeddings of both networks over the
  batch. Fernandes Montesuma, KD²M: A unifying framework for feature knowledge
  distillation, 2025, https://arxiv.org/abs/2504.01757; see docs/kd2m.md.

  Attributes:
    metric: Name of the distance D: `paired`, `w2`, `jw2`, `sinkhorn`,
      `w2_gauss`, `kl_gauss`, `mmd_rbf` or another of docs/kd2m.md. Names with a
      leading `c` compare the distributions of each class, `jw2` also compares
      predictions, and those with `gauss` compare means and variances only.
    weight: Weight λ of the distance: a number, or pairs of an epoch, from 0,
      and the value from that epoch on (default: a value that suits the metric
      if the distance is scaled or has no unit, and otherwise 1e-4 as in the
      released code, because squared distances of raw embeddings are large).
    scale: `teacher_var` divides the distance by the total variance of the
      teacher's batch: the weight is of order 1 then and suits other networks as
      well. `none` does not.
    projection: `linear` maps the student's embedding to the teacher's width by
      a layer that is trained with the student and discarded afterwards. `none`
      requires equal widths.
    statistics: `global` computes the distance of the whole batch over all
      devices. `local` averages over groups of the batch: no communication
      between devices, but another value, larger for transport distances.
    local_groups: Number of groups of a batch with `statistics=local`, usually
      the number of devices. Batches that it does not divide have fewer.
    aggregation: How metrics with a leading `c` combine the distances of the
      classes: `mean_present` averages over the classes of the batch, `mean_all`
      over all classes (the paper's 1/K), `weighted` by the number of images,
      and `sum` adds them (the paper's code).
    label_cost: Cost between the predictions of two images in `jw2`, a name of
      `kdjax.losses.LABEL_COSTS`.
    beta: Weight of the label cost in `jw2`; `max` is the largest squared
      distance of two embeddings of the batch.
    epsilon: Entropic regularization of the metrics with `sinkhorn`, as a
      fraction of the mean squared distance.
    ridge: Constant added to the variances in the metrics with `kl` and
      `jeffreys`.
    relative_ridge: Whether the ridge is a fraction of the mean variance of the
      teacher's embeddings instead of a constant.
    solver: Solver of the transport metrics: `exact`, or `auction`, whose plan
      costs at most 1e-4 of the mean cost more and takes fewer dependent steps;
      `solver_gap` in the log is its error on evaluation images. See
      docs/transport.md.
  """

  metric: str = 'w2'
  weight: Weight | None = None
  scale: Literal['none', 'teacher_var'] = 'none'
  projection: Literal['none', 'linear'] = 'none'
  statistics: Literal['global', 'local'] = 'global'
  local_groups: int = 8
  aggregation: str = 'mean_present'
  label_cost: str = 'sqprob'
  beta: float | Literal['max'] = 'max'
  epsilon: float = 0.1
  ridge: float = 1e-3
  relative_ridge: bool = False
  solver: Literal['exact', 'auction'] = 'exact'

  teacher_reads = 'outputs'

  def __post_init__(self):
    """Checks the settings."""
    super().__post_init__()
    if self.weight is not None:
      check_weight('Kd2m', 'weight', self.weight)
    check_positive(self, 'epsilon', 'ridge', 'local_groups')
    for setting, known in _CHOICES.items():
      name = getattr(self, setting)
      if name not in known:
        raise ValueError(unknown(f'{setting} of kd2m', name, known))
    if self.beta != 'max':
      check_not_negative(self, 'beta')
    if self.scale == 'teacher_var' and self.metric in UNITLESS:
      raise ValueError(
        f'{self.metric} has no unit that scale=teacher_var could remove. Give '
        '--method.scale=none and set the weight.'
      )

  def init(
    self,
    key: jax.Array,
    student: NetworkSpec,
    teacher: NetworkSpec,
    data: TrainSpec,
  ) -> Variables:
    """Returns the projection, if there is one; see `Method.init`."""
    del data
    student_width, teacher_width = (
      network.features.embedding.shape[-1] for network in (student, teacher)
    )
    if self.projection == 'linear':
      projection = init_linear(key, student_width, teacher_width)
      return {'params': {'projection': projection}, 'state': {}}
    if student_width != teacher_width:
      raise ValueError(
        f'kd2m compares embeddings of one width, but {student.name} has '
        f'{student_width} and {teacher.name} has {teacher_width}. Give '
        '--method.projection=linear (in a combination: '
        '--method.kd2m.projection=linear) to train a map between them.'
      )
    return {'params': {}, 'state': {}}

  def terms(
    self,
    variables: Variables,
    student: Pass,
    teacher: Pass,
    batch: Batch,
    context: Context,
  ) -> tuple[Terms, Updates]:
    """Computes `kd2m`, the weighted distance; see `Method.terms`."""
    samples = Samples(
      student=self._project(variables, student.features.embedding),
      teacher=jax.lax.stop_gradient(teacher.features.embedding),
      student_logits=student.features.logits,
      teacher_logits=jax.lax.stop_gradient(teacher.features.logits),
      labels=batch['label'],
    )
    value = distance(self, samples)
    if self.scale == 'teacher_var':
      variance = losses.total_variance(samples.teacher)
      value = value / jnp.where(variance > 0, variance, 1)
    weight = value_at(self.effective_weight, context.epoch)
    return {'kd2m': weight * value}, Updates()

  def observe(
    self, variables: Variables, student: Pass, teacher: Pass, batch: Batch
  ) -> Observations:
    """Computes `bound`, both sides of the theorem; see docs/theorem.md."""
    del batch
    pair = (
      self._project(variables, student.features.embedding),
      teacher.features.embedding,
    )
    bound = kd2m_bound.feature_distances(*pair)
    if self.solver != 'exact':
      gap = losses.wasserstein2_gap(*pair, assign=SOLVERS[self.solver])
      bound['solver_gap'] = gap / bound['w2'] ** 2
    if self.projection == 'none':  # the heads read the compared embeddings
      bound |= kd2m_bound.risks_of(student, teacher)
    return {'bound': bound}

  @property
  def effective_weight(self) -> Weight:
    """The weight, or its default for the metric and scale."""
    return self.default_weight if self.weight is None else self.weight

  @property
  def default_weight(self) -> float:
    """Default weight of the metric and scale."""
    scaled = self.scale != 'none' or self.metric in UNITLESS
    return WEIGHTS[self.metric] if scaled else _RELEASED_WEIGHT

  def _project(self, variables: Variables, embedding: jax.Array) -> jax.Array:
    """Returns the student's embedding in the teacher's width."""
    if self.projection == 'none':
      return embedding
    return apply_linear(variables['params']['projection'], embedding)
