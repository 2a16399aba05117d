"""What FCFD argues, measured: which errors of a feature change the output."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from kdjax import losses
from kdjax.methods.base import Pass

_RELATIVE_NORM = 0.1  # of a perturbation, to that of the image's features
_ITERATIONS = 3
_IMAGES = 64


def function_gap(
  translated: Mapping[int, jax.Array], teacher: Pass
) -> dict[str, jax.Array]:
  r"""How far translated features are from the teacher's, and are read so.

  Args:
    translated: The student's features in the teacher's space, by stage.
    teacher: Its pass of the same images.

  Returns:
    For each stage `stage_i.appearance`,
    :math:`\lVert x - F_t^i \rVert^2 / \lVert F_t^i \rVert^2` over the batch,
    without a unit; and `stage_i.function`, the mean divergence of what the
    teacher's later stages make of them from the teacher's classes, in nats.
  """
  found = {}
  for stage, features in translated.items():
    target = teacher.features.boundaries[stage]
    distance = losses.mean_squared_error(features, target).mean()
    size = losses.mean_squared_error(target, jnp.zeros_like(target)).mean()
    found[f'stage_{stage}.appearance'] = distance / size
    logits = _read(teacher, stage, features)
    change = _change(logits, teacher.features.logits)
    found[f'stage_{stage}.function'] = change
  return found


def anisotropy(
  translated: Mapping[int, jax.Array], teacher: Pass
) -> dict[str, jax.Array]:
  r"""What errors of one size do to the teacher's output, by their direction.

  Each image's features are moved by a tenth of their norm: in a random
  direction; in the one that changes the logits most, found by a few power
  iterations on :math:`J^T J`; and towards the student's translated features,
  the error that is really made. The first 64 images are looked at.

  A teacher in training mode normalises these images among themselves, so the
  classes it is compared with are read from the same images unmoved.

  Returns:
    For each stage `stage_i.random`, `stage_i.steepest` and `stage_i.student`,
    the mean divergence from the teacher's classes, in nats. Were the teacher
    isotropic, the three would agree.
  """
  found = {}
  for stage, features in translated.items():
    target = losses.full_precision(teacher.features.boundaries[stage][:_IMAGES])
    unmoved = _read(teacher, stage, target)
    noise = jax.random.normal(jax.random.key(stage), target.shape, target.dtype)
    directions = {
      'random': noise,
      'steepest': _steepest(teacher, stage, target, noise),
      'student': losses.full_precision(features[:_IMAGES]) - target,
    }
    for name, direction in directions.items():
      moved = _read(teacher, stage, target + _scaled(direction, target))
      found[f'stage_{stage}.{name}'] = _change(moved, unmoved)
  return found


def _read(teacher: Pass, stage: int, features: jax.Array) -> jax.Array:
  """The logits that the teacher's later stages read from features."""
  dtype = teacher.features.boundaries[stage].dtype
  return teacher.tail(features.astype(dtype), stage + 1).logits


def _change(logits: jax.Array, own: jax.Array) -> jax.Array:
  """Mean divergence of the classes from the teacher's own, in nats."""
  return losses.soft_target_kl(logits, own, temperature=1.0).mean()


def _steepest(teacher: Pass, stage: int, target, start):
  """The direction of each image that changes its logits most."""

  def logits(features):
    return _read(teacher, stage, features)

  base, pullback = jax.vjp(logits, target)

  def iterate(direction, _):
    # J v by a difference: the networks are differentiated backwards only.
    change = logits(target + _scaled(direction, target)) - base
    return pullback(change.astype(base.dtype))[0], None

  direction, _ = jax.lax.scan(iterate, start, length=_ITERATIONS)
  return direction


def _scaled(direction, target):
  """The direction with a tenth of the norm of each image's features."""
  axes = tuple(range(1, target.ndim))
  norm, size = (
    jnp.sqrt(jnp.sum(x**2, axis=axes, keepdims=True))
    for x in (direction, target)
  )
  return _RELATIVE_NORM * size * direction / jnp.where(norm > 0, norm, 1)
