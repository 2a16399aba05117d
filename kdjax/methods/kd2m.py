"""KD²M: the student's batch of features matched to the teacher's."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp

from kdjax import losses
from kdjax.methods import base, kd2m_bound
from kdjax.methods.kd2m_metrics import (
  METRICS,
  SOLVERS,
  UNITLESS,
  WEIGHTS,
  Clouds,
  measure,
)
from kdjax.methods.linear import apply_linear, init_linear
from kdjax.names import unknown

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
class Kd2m(base.Method):
  """Feature distillation by matching feature distributions.

  What is minimised: task loss + weight · D(student features, teacher features),
  with the networks' embeddings over the whole batch.

  Fernandes Montesuma, KD²M: A unifying framework for feature knowledge
  distillation, 2025, https://arxiv.org/abs/2504.01757.

  Attributes:
    metric: D, a name of `METRICS`: `c...` is per class, `jw2` looks at the
      predictions, `..._gauss` at means and variances alone.
    weight: λ. Without one, `WEIGHTS[metric]` if the distance is scaled or has
      no unit, else the released code's 1e-4: squared distances of raw
      embeddings are large.
    scale: `teacher_var` divides D by the total variance of the teacher's batch;
      the weight then is of order 1 and carries over to other networks.
    projection: `linear` maps the student's embedding to the teacher's width by
      a layer trained with the student and dropped afterwards.
    statistics: `global` is D of the whole batch, over all devices. `local` is
      the mean of D over parts of the batch: it needs no exchange between
      devices, but is another quantity, larger for every transport distance.
    local_groups: Into how many parts `local` cuts the batch: the number of
      devices, to save their exchange. Fewer where they do not divide a batch.
    aggregation: How `c...` puts the classes together; `mean_all` is the paper's
      1/K, `sum` its code's.
    label_cost: What `jw2` compares predictions by, a name of
      `losses.LABEL_COSTS`.
    beta: Its weight in `jw2`; `max` is the largest squared distance.
    epsilon: Of `sinkhorn...`, as a fraction of the mean squared distance.
    ridge: Added to the variances of the metrics with `kl` or `jeffreys`.
    relative_ridge: Makes it a fraction of the mean variance of the teacher.
    solver: `exact`, or `auction`: within 1e-4 of the mean cost, in fewer steps
      that wait for each other; `solver_gap` of the `bound` lines says how near
      on evaluation images. See docs/transport.md.
  """

  metric: str = 'w2'
  weight: float | None = None
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
      base.check_not_negative(self, 'weight')
    base.check_positive(self, 'epsilon', 'ridge', 'local_groups')
    for setting, known in _CHOICES.items():
      name = getattr(self, setting)
      if name not in known:
        raise ValueError(unknown(f'{setting} of kd2m', name, known))
    if self.beta != 'max':
      base.check_not_negative(self, 'beta')
    if self.scale == 'teacher_var' and self.metric in UNITLESS:
      raise ValueError(
        f'{self.metric} has no unit that scale=teacher_var could take away. '
        'Use --method.scale=none and set the weight.'
      )

  def init(self, key, student, teacher):
    """The projection, if there is one; see `Method.init`."""
    wide, narrow = (
      network.features.embedding.shape[-1] for network in (teacher, student)
    )
    if self.projection == 'linear':
      projection = init_linear(key, narrow, wide)
      return {'params': {'projection': projection}, 'state': {}}
    if narrow != wide:
      raise ValueError(
        f'kd2m compares embeddings of one width, but {student.name} has '
        f'{narrow} and {teacher.name} has {wide}. Give '
        '--method.projection=linear (beside another method '
        '--method.kd2m.projection=linear) to train a map between them.'
      )
    return {'params': {}, 'state': {}}

  def terms(self, variables, student, teacher, batch, context):
    """`kd2m`: weight · D; see `Method.terms`."""
    del context
    clouds = Clouds(
      student=self._projected(variables, student.features.embedding),
      teacher=jax.lax.stop_gradient(teacher.features.embedding),
      student_logits=student.features.logits,
      teacher_logits=jax.lax.stop_gradient(teacher.features.logits),
      labels=batch['label'],
    )
    distance = measure(self, clouds)
    if self.scale == 'teacher_var':
      variance = losses.total_variance(clouds.teacher)
      distance = distance / jnp.where(variance > 0, variance, 1)
    return {'kd2m': self.effective_weight * distance}, base.Updates()

  def observe(self, variables, student, teacher, batch):
    """`bound`: both sides of the theorem; see docs/theorem.md."""
    del batch
    pair = (
      self._projected(variables, student.features.embedding),
      teacher.features.embedding,
    )
    found = kd2m_bound.feature_distances(*pair)
    if self.solver != 'exact':
      gap = losses.wasserstein2_gap(*pair, assign=SOLVERS[self.solver])
      found['solver_gap'] = gap / found['w2'] ** 2
    if self.projection == 'none':  # the heads take what is compared
      found |= kd2m_bound.risks_of(student, teacher)
    return {'bound': found}

  @property
  def effective_weight(self) -> float:
    """λ, chosen if it is not given."""
    if self.weight is not None:
      return self.weight
    scaled = self.scale != 'none' or self.metric in UNITLESS
    return WEIGHTS[self.metric] if scaled else _RELEASED_WEIGHT

  def _projected(self, variables, embedding: jax.Array) -> jax.Array:
    """The student's embedding in the teacher's width."""
    if self.projection == 'none':
      return embedding
    return apply_linear(variables['params']['projection'], embedding)
