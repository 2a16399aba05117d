"""ICD (DCD): contrastive and invariance losses of projected embeddings."""

# pyright: reportUnknownMemberType=false

import dataclasses
import functools
from typing import Literal

import jax
import jax.numpy as jnp

from kdjax import losses
from kdjax.features import NetworkSpec
from kdjax.methods.base import Context, Method, TrainSpec, Updates
from kdjax.methods.groups import group_count, grouped
from kdjax.methods.linear import apply_linear, init_linear
from kdjax.methods.passes import Pass
from kdjax.methods.schedules import Weight, check_weight, value_at
from kdjax.methods.settings import (
  check_choice,
  check_not_negative,
  check_positive,
)
from kdjax.typing import Batch, PyTree, Terms, Variables


@dataclasses.dataclass(frozen=True, kw_only=True)
class Icd(Method):
  r"""Invariant consistency distillation, later named DCD.

  Both embeddings pass through trained linear maps, and the loss is

  .. math::
    \beta \, \frac1n \sum_i \bigl(
      -\log P_{ii} + \alpha \, \mathrm{KL}(Q_i \| P_i) \bigr)

  with the softmax :math:`P` of the scaled cosines along the student's rows and
  :math:`Q` along the teacher's; see `kdjax.losses.icd`. The maps and the scale
  are trained with the student and discarded afterwards. Giakoumoglou and
  Stathaki, https://arxiv.org/abs/2407.11802, 2024; see docs/icd.md.

  Attributes:
    weight: Weight β of the sum of both losses: a number, or pairs of an epoch,
      from 0, and the value from that epoch on.
    invariance_weight: Weight α of the invariance loss relative to the
      contrastive loss.
    width: Width of the projected embeddings.
    max_scale: Upper bound of the trained scale exp(τ) of the cosines; above it
      τ has no gradient.
    fixed_scale: Constant factor of the cosines that replaces the trained scale
      and bias (default: trained). It is the inverse of a temperature: 0.07 is a
      scale of 14.3. The published code without training multiplies by 0.07.
    negatives: `global` contrasts an image with all other images of the batch
      over all devices. `local` contrasts within groups of the batch and
      averages: no communication, but fewer negatives and another value.
    local_groups: Number of groups of a batch with `negatives=local`, usually
      the number of devices. Batches that it does not divide have fewer.
  """

  weight: Weight = 1.0
  invariance_weight: float = 0.5
  width: int = 128
  max_scale: float = 10.0
  fixed_scale: float | None = None
  negatives: Literal['global', 'local'] = 'global'
  local_groups: int = 8

  teacher_reads = 'outputs'

  def __post_init__(self):
    """Checks the settings."""
    super().__post_init__()
    check_weight('Icd', 'weight', self.weight)
    check_not_negative(self, 'invariance_weight')
    check_positive(self, 'max_scale', 'local_groups')
    check_choice(self, 'negatives', ('global', 'local'))
    if self.fixed_scale is not None:
      check_positive(self, 'fixed_scale')
    if self.width < 1:
      raise ValueError(f'width of Icd must be at least 1, got {self.width}.')

  def init(
    self,
    key: jax.Array,
    student: NetworkSpec,
    teacher: NetworkSpec,
    data: TrainSpec,
  ) -> Variables:
    """Returns two projections and, unless it is fixed, the scale and bias.

    Raises:
      ValueError: If batches of this size leave an image without negatives. The
        last batch of an epoch may be smaller: its loss is 0 then.
    """
    del data
    self._check_batch(len(student.features.embedding))
    keys = jax.random.split(key)
    params: dict[str, PyTree] = {
      name: init_linear(key, network.features.embedding.shape[-1], self.width)
      for name, key, network in (
        ('student', keys[0], student),
        ('teacher', keys[1], teacher),
      )
    }
    if self.fixed_scale is None:
      params |= {'log_scale': jnp.ones(()), 'bias': jnp.zeros(())}
    return {'params': params, 'state': {}}

  def terms(
    self,
    variables: Variables,
    student: Pass,
    teacher: Pass,
    batch: Batch,
    context: Context,
  ) -> tuple[Terms, Updates]:
    """Computes `icd`, the weighted batch mean; see `Method.terms`."""
    del batch
    params = variables['params']
    pair = (
      apply_linear(params['student'], student.features.embedding),
      apply_linear(
        params['teacher'], jax.lax.stop_gradient(teacher.features.embedding)
      ),
    )
    groups = grouped(pair, self._groups(len(pair[0])))
    loss = functools.partial(
      losses.icd,
      scale=self.scale(params),
      bias=params['bias'] if self.fixed_scale is None else 0.0,
      invariance_weight=self.invariance_weight,
    )
    weight = value_at(self.weight, context.epoch)
    return {'icd': weight * jax.vmap(loss)(*groups).mean()}, Updates()

  def scale(self, params: PyTree) -> jax.typing.ArrayLike:
    """Returns the factor of the cosines, `[]`.

    Args:
      params: The method's parameters.
    """
    if self.fixed_scale is not None:
      return self.fixed_scale
    return jnp.minimum(jnp.exp(params['log_scale']), self.max_scale)

  def _groups(self, images: int) -> int:
    """Returns the number of groups that are contrasted within themselves."""
    if self.negatives == 'global':
      return 1
    return group_count(self.local_groups, images)

  def _check_batch(self, images: int) -> None:
    groups = self._groups(images)
    if images // groups < 2:
      raise ValueError(
        f'icd contrasts each image with others, got a batch of {images} in '
        f'{groups} group(s). Give --batch_size=2 or more, or with '
        '--method.negatives=local two or more images for each of '
        '--method.local_groups (in a combination: --method.icd...).'
      )
