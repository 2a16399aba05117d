"""ICD (DCD): contrastive and invariance terms on projected embeddings."""

import dataclasses
import functools
from typing import Literal

import jax
import jax.numpy as jnp

from kdjax import losses
from kdjax.methods.base import (
  Method,
  Updates,
  check_choice,
  check_not_negative,
  check_positive,
)
from kdjax.methods.groups import group_count, grouped
from kdjax.methods.linear import apply_linear, init_linear


@dataclasses.dataclass(frozen=True, kw_only=True)
class Icd(Method):
  """Invariant consistency distillation; see `kdjax.losses.icd`.

  Giakoumoglou and Stathaki, arXiv 2407.11802, later named DCD. Both embeddings
  pass through a trained linear map; the scale exp(τ), capped, is trained too.
  All of that is dropped after training. See docs/icd.md.

  Attributes:
    weight: β, of the sum of both terms.
    invariance_weight: α, of the invariance term within it.
    width: Of the projections.
    max_scale: What exp(τ) is cut at; beyond it τ has no gradient.
    fixed_scale: A scale that is not trained, in place of exp(τ) and without a
      bias. It multiplies: a temperature of 0.07 is a scale of 14.3. The
      original's form without training multiplies by 0.07.
    negatives: `global` contrasts with all other images of the batch, over all
      devices. `local` is the mean over parts of the batch, each contrasted
      within itself: no exchange, but fewer negatives and another number. The
      original's is `local` with a part for each GPU.
    local_groups: Into how many parts `local` cuts the batch: the number of
      devices, to save their exchange. Fewer where they do not divide a batch.
  """

  weight: float = 1.0
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
    check_not_negative(self, 'weight', 'invariance_weight')
    check_positive(self, 'max_scale', 'local_groups')
    check_choice(self, 'negatives', ('global', 'local'))
    if self.fixed_scale is not None:
      check_positive(self, 'fixed_scale')
    if self.width < 1:
      raise ValueError(f'width of Icd must be at least 1, got {self.width}.')

  def init(self, key, student, teacher):
    """Two projections and, unless the scale is fixed, τ = 1 and b = 0.

    Raises:
      ValueError: If batches of this size leave an image without negatives. A
        smaller last batch of an epoch may: its loss is then 0.
    """
    images = len(student.features.embedding)
    if images // self._groups(images) < 2:
      raise ValueError(
        'icd contrasts each image with others, got a batch of '
        f'{images} in {self._groups(images)} part(s). Give --batch_size=2 or '
        'more, or with --method.negatives=local two or more for each of '
        '--method.local_groups (beside another method --method.icd...).'
      )
    keys = jax.random.split(key)
    params = {
      name: init_linear(key, network.features.embedding.shape[-1], self.width)
      for name, key, network in (
        ('student', keys[0], student),
        ('teacher', keys[1], teacher),
      )
    }
    if self.fixed_scale is None:
      params |= {'log_scale': jnp.ones(()), 'bias': jnp.zeros(())}
    return {'params': params, 'state': {}}

  def terms(self, variables, student, teacher, batch, context):
    """The batch's mean of both terms, as `icd`."""
    del batch, context
    params = variables['params']
    pair = (
      apply_linear(params['student'], student.features.embedding),
      apply_linear(
        params['teacher'], jax.lax.stop_gradient(teacher.features.embedding)
      ),
    )
    parts = grouped(pair, self._groups(len(pair[0])))
    bias = params['bias'] if self.fixed_scale is None else 0.0
    values = functools.partial(
      losses.icd,
      scale=self.scale(params),
      bias=bias,
      invariance_weight=self.invariance_weight,
    )
    return {'icd': self.weight * jax.vmap(values)(*parts).mean()}, Updates()

  def scale(self, params) -> jax.typing.ArrayLike:
    """What the cosines are multiplied by."""
    if self.fixed_scale is not None:
      return self.fixed_scale
    return jnp.minimum(jnp.exp(params['log_scale']), self.max_scale)

  def _groups(self, images: int) -> int:
    """Parts that see each other's images alone."""
    if self.negatives == 'global':
      return 1
    return group_count(self.local_groups, images)
