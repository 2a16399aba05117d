"""Optimization of a student: SGD with the papers' schedules."""

import dataclasses
import math
from typing import Literal

import jax
import jax.numpy as jnp
import optax
import tyro

from kdjax.methods import Method
from kdjax.network import Network
from kdjax.train import optimizer as optimizer_lib
from kdjax.train.averaging import Ema, Form, LastEpochs, StepWrapper


# Its fields are flags of their own: `--epochs`, not `--recipe.epochs`.
@tyro.conf.configure(tyro.conf.OmitArgPrefixes)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
  """SGD with momentum, coupled weight decay and a schedule by epoch.

  Weight decay is added to the gradient of every trained tensor, including
  batch-norm scales, biases and the method's own parameters, as PyTorch's SGD
  does.

  Attributes:
    epochs: Number of training epochs.
    batch_size: Images per step, over all devices; a smaller last batch of an
      epoch is kept.
    learning_rate: Learning rate of the first epoch.
    momentum: Momentum of SGD, in [0, 1).
    nesterov: Whether momentum is Nesterov's.
    weight_decay: Factor of the weights that is added to their gradient.
    schedule: Schedule of the learning rate: `step` multiplies it by
      `decay_factor` at `decay_at`, `cosine` lowers it to `final_learning_rate`.
    decay_at: Epochs at which `step` lowers the rate, as shares of all epochs:
      0.625 of 240 is epoch 150, and a shorter run has the same proportions.
    decay_factor: Factor of the learning rate at each of `decay_at`.
    final_learning_rate: Learning rate at the end of `cosine`.
    ema_decay: Decay per step of an exponential moving average of the
      parameters, which is then evaluated and exported (default: no average).
    average_last: Number of last epochs whose weights and running statistics
      are averaged, evaluated and saved, too (default: none).
    average_form: Weights of that average: `mean`, or `as_published`, which
      counts the second of the epochs twice and the first not at all, as the
      released code of LSHFM does.
  """

  epochs: int = 240
  batch_size: int = 64
  learning_rate: float = 0.05
  momentum: float = 0.9
  nesterov: bool = False
  weight_decay: float = 5e-4
  schedule: Literal['step', 'cosine'] = 'step'
  decay_at: tuple[float, ...] = (0.625, 0.75, 0.875)
  decay_factor: float = 0.1
  final_learning_rate: float = 0.0
  ema_decay: float | None = None
  average_last: int | None = None
  average_form: Form = 'mean'

  def __post_init__(self):
    """Checks the settings, which would otherwise fail during a run."""
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

  @property
  def all_epochs(self) -> int:
    """Number of epochs of all stages."""
    return self.epochs

  def without_stages(self) -> 'Recipe':
    """Returns this recipe with one stage only."""
    return self

  def staged(self, method: Method) -> Method:
    """Returns the method as the stages of this recipe train it."""
    return method

  def learning_rate_at(self, epoch: jax.typing.ArrayLike) -> jax.Array:
    """Returns the learning rate of an epoch, float32 (float64 in x64 mode).

    Args:
      epoch: Epochs completed; may be a fraction.
    """
    return self._rate(jnp.asarray(epoch), self.epochs)

  def optimizer(
    self, steps_per_epoch: int, student: Network, method: Method
  ) -> optax.GradientTransformation:
    """Returns the optimizer of a student trained with a method.

    Args:
      steps_per_epoch: Number of steps.
      student: The network that is trained.
      method: The method; the optimizer's state is reset at its `stage_starts`.
    """
    del student

    def rate(step: jax.typing.ArrayLike) -> jax.Array:
      return self._rate_at_step(jnp.asarray(step), steps_per_epoch)

    sgd = optimizer_lib.sgd(
      rate,
      momentum=self.momentum,
      nesterov=self.nesterov,
      weight_decay=self.weight_decay,
    )
    starts = tuple(epoch * steps_per_epoch for epoch in method.stage_starts)
    return optimizer_lib.reset_at(sgd, starts)

  def wrappers(self, steps_per_epoch: int) -> tuple[StepWrapper, ...]:
    """Returns the wrappers of each step: averages of weights."""
    wrappers: list[StepWrapper] = []
    if self.ema_decay is not None:
      wrappers.append(Ema(self.ema_decay))
    if self.average_last is not None:
      first = self.all_epochs - self.average_last
      wrappers.append(
        LastEpochs(self.average_last, self.average_form, first, steps_per_epoch)
      )
    return tuple(wrappers)

  def _rate_at_step(self, step: jax.Array, steps_per_epoch: int) -> jax.Array:
    return self.learning_rate_at(step // steps_per_epoch)

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
    rate = jnp.asarray(self.learning_rate, jnp.result_type(float))
    return rate * self.decay_factor**decays
