"""ICD (DCD): contrastive and invariance terms on projected embeddings."""

import dataclasses

import jax
import jax.numpy as jnp

from kdjax import losses
from kdjax.methods.base import Method, Updates, check_not_negative
from kdjax.methods.linear import apply_linear, init_linear


@dataclasses.dataclass(frozen=True, kw_only=True)
class Icd(Method):
  """Invariant consistency distillation; see `kdjax.losses.icd`.

  Giakoumoglou and Stathaki, arXiv 2407.11802. Both embeddings pass through a
  trained linear map; the scale exp(τ), capped, is trained too.

  Attributes:
    weight: β, of the sum of both terms.
    invariance_weight: α, of the invariance term within it.
    width: Of the projections.
    max_scale: What exp(τ) is cut at; beyond it τ has no gradient.
  """

  weight: float = 1.0
  invariance_weight: float = 0.5
  width: int = 128
  max_scale: float = 10.0

  def __post_init__(self):
    """Checks the settings."""
    super().__post_init__()
    check_not_negative(self, 'weight', 'invariance_weight', 'max_scale')
    if self.width < 1:
      raise ValueError(f'width of Icd must be at least 1, got {self.width}.')

  def init(self, key, student, teacher):
    """Two projections, τ = 1 and b = 0."""
    keys = jax.random.split(key)
    params = {
      name: init_linear(key, network.features.embedding.shape[-1], self.width)
      for name, key, network in (
        ('student', keys[0], student),
        ('teacher', keys[1], teacher),
      )
    }
    params |= {'log_scale': jnp.ones(()), 'bias': jnp.zeros(())}
    return {'params': params, 'state': {}}

  def terms(self, variables, student, teacher, batch, context):
    """The batch's mean of both terms, as `icd`."""
    del batch, context
    params = variables['params']
    values = losses.icd(
      apply_linear(params['student'], student.features.embedding),
      apply_linear(params['teacher'], teacher.features.embedding),
      scale=jnp.minimum(jnp.exp(params['log_scale']), self.max_scale),
      bias=params['bias'],
      invariance_weight=self.invariance_weight,
    )
    return {'icd': self.weight * values.mean()}, Updates()
