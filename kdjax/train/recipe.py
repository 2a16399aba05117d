"""How the student is optimised: SGD as the field's recipes have it."""

import dataclasses
import math
from typing import Literal

import jax
import jax.numpy as jnp
import optax
import tyro

from kdjax.train.averaging import Form


# As flags its fields stand alone: `--epochs`, not `--recipe.epochs`.
@tyro.conf.configure(tyro.conf.OmitArgPrefixes)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
  """SGD with momentum, coupled weight decay and a schedule by epoch.

  Weight decay is added to the gradient of every trained tensor, batch-norm
  scales, biases and the method's own parts included, as in PyTorch's SGD.
  """

  epochs: int = 240
  batch_size: int = 64  # over all devices; a last, smaller batch is kept
  learning_rate: float = 0.05
  momentum: float = 0.9
  nesterov: bool = False
  weight_decay: float = 5e-4
  schedule: Literal['step', 'cosine'] = 'step'
  # Shares of all epochs after which the rate is multiplied by `decay_factor`:
  # 150, 180 and 210 of the field's 240, and in proportion in a shorter run.
  decay_at: tuple[float, ...] = (0.625, 0.75, 0.875)
  decay_factor: float = 0.1
  final_learning_rate: float = 0.0  # what the cosine ends at
  ema_decay: float | None = None  # of the parameters that are evaluated
  # Epochs at the end whose weights and running statistics are averaged as well,
  # evaluated and kept beside those of the last epoch.
  average_last: int | None = None
  average_form: Form = 'mean'  # as_published counts the second epoch twice

  # Settings of `StagedRecipe`, which others have not.
  every_step = False
  align_epochs = 0
  align_factor = 1.0
  body_factor = 1.0

  def __post_init__(self):
    """Checks what would otherwise fail deep inside a run."""
    for name in ('epochs', 'batch_size'):
      if getattr(self, name) < 1:
        raise ValueError(
          f'{name} must be at least 1, got {getattr(self, name)}.'
        )
    if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
      raise ValueError(
        f'learning_rate must be positive, got {self.learning_rate}.'
      )
    if not self.weight_decay >= 0:
      raise ValueError(
        f'weight_decay must be zero or more, got {self.weight_decay}.'
      )
    if not (self.decay_factor > 0 and math.isfinite(self.decay_factor)):
      raise ValueError(
        f'decay_factor must be positive, got {self.decay_factor}.'
      )
    if not (0 <= self.final_learning_rate < math.inf):
      raise ValueError(
        'final_learning_rate must be zero or more, got '
        f'{self.final_learning_rate}.'
      )
    for share in self.decay_at:
      if not 0 <= share <= 1:
        raise ValueError(
          f'decay_at is in shares of all epochs, from 0 to 1, got {share}: '
          'epoch 150 of 240 is 0.625.'
        )
    last = self.average_last
    if last is not None and not 1 <= last <= self.epochs:
      raise ValueError(
        f'average_last must be from 1 to the {self.epochs} epochs, got {last}.'
      )
    for name in ('momentum', 'ema_decay'):
      value = getattr(self, name)
      if value is not None and not 0 <= value < 1:
        raise ValueError(f'{name} must be in [0, 1), got {value}.')

  def without_stages(self) -> 'Recipe':
    """The same without what comes before the student moves."""
    return self

  @property
  def all_epochs(self) -> int:
    """Those before the student moves, and those in which it does."""
    return self.align_epochs + self.epochs

  def learning_rate_at(self, epoch: jax.typing.ArrayLike) -> jax.Array:
    """Float32 learning rate of an epoch, counted from 0; may lie within one."""
    epoch = jnp.asarray(epoch)
    rate = self._rate(epoch - self.align_epochs, self.epochs)
    if not self.align_epochs:
      return rate
    before = self._rate(epoch, self.align_epochs)
    return jnp.where(epoch < self.align_epochs, before, rate)

  def optimizer(self, steps_per_epoch: int) -> optax.GradientTransformation:
    """The optimiser: `g + wd·w`, then momentum, then the epoch's rate."""

    def rate(step: jax.typing.ArrayLike) -> jax.Array:
      step = jnp.asarray(step)
      if self.every_step:
        return self.learning_rate_at(step / steps_per_epoch)
      return self.learning_rate_at(step // steps_per_epoch)

    return optax.chain(
      optax.add_decayed_weights(self.weight_decay),
      optax.sgd(rate, momentum=self.momentum or None, nesterov=self.nesterov),
    )

  def _rate(self, epoch: jax.Array, epochs: int) -> jax.Array:
    if self.schedule == 'cosine':
      phase = jnp.minimum(epoch / epochs, 1.0)
      span = self.learning_rate - self.final_learning_rate
      return self.final_learning_rate + span * 0.5 * (
        1 + jnp.cos(jnp.pi * phase)
      )
    milestones = jnp.asarray(
      [round(share * epochs) for share in self.decay_at], jnp.int32
    )
    decays = jnp.sum(epoch >= milestones)
    return jnp.float32(self.learning_rate) * self.decay_factor**decays
