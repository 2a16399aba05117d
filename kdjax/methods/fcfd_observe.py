"""FCFD's argument, measured: which errors of a feature change the output."""

# pyright: reportUnknownMemberType=false

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from kdjax import losses
from kdjax.losses import numerics
from kdjax.methods.passes import Pass

# The types of some transformations are incomplete.
_jax: Any = jax

# Norm of a perturbation, relative to that of the image's features.
_RELATIVE_NORM = 0.1
_ITERATIONS = 3
_IMAGES = 64


def function_gap(
  translated: Mapping[int, jax.Array], teacher: Pass
) -> dict[str, jax.Array]:
  r"""Computes how translated features and their outputs differ.

  Args:
    translated: The student's features in the teacher's space, by stage.
    teacher: The teacher's pass over the same images.

  Returns:
    For each stage `stage_i.appearance`,
    :math:`\lVert x - F_t^i \rVert^2 / \lVert F_t^i \rVert^2` over the batch,
    and `stage_i.function`, the mean divergence in nats between the teacher's
    class probabilities and those that its later stages compute from the
    translated features.
  """
  gaps: dict[str, jax.Array] = {}
  for stage, features in translated.items():
    target = teacher.features.boundaries[stage]
    distance = losses.mean_squared_error(features, target).mean()
    size = losses.mean_squared_error(target, jnp.zeros_like(target)).mean()
    gaps[f'stage_{stage}.appearance'] = distance / size
    logits = _logits(teacher, stage, features)
    change = _divergence(logits, teacher.features.logits)
    gaps[f'stage_{stage}.function'] = change
  return gaps


def anisotropy(
  translated: Mapping[int, jax.Array], teacher: Pass
) -> dict[str, jax.Array]:
  r"""Computes how the teacher's output reacts to errors of equal norm.

  Features of the first 64 images are perturbed by a tenth of their norm: in a
  random direction; in the one that changes the logits most, by a few power
  iterations on :math:`J^T J`; and towards the student's translated features,
  the actual error.

  A teacher in training mode normalizes with these images alone, so the class
  probabilities it is compared with are computed from the same images without a
  perturbation.

  Args:
    translated: The student's features in the teacher's space, by stage.
    teacher: The teacher's pass over the same images.

  Returns:
    For each stage `stage_i.random`, `stage_i.steepest` and `stage_i.student`,
    the mean divergence from the teacher's class probabilities in nats. They are
    equal if the teacher is isotropic.
  """
  changes: dict[str, jax.Array] = {}
  for stage, features in translated.items():
    target = numerics.full_precision(
      teacher.features.boundaries[stage][:_IMAGES]
    )
    unperturbed = _logits(teacher, stage, target)
    noise = jax.random.normal(jax.random.key(stage), target.shape, target.dtype)
    directions = {
      'random': noise,
      'steepest': _steepest(teacher, stage, target, noise),
      'student': numerics.full_precision(features[:_IMAGES]) - target,
    }
    for name, direction in directions.items():
      perturbed = target + _perturbation(direction, target)
      logits = _logits(teacher, stage, perturbed)
      changes[f'stage_{stage}.{name}'] = _divergence(logits, unperturbed)
  return changes


def _logits(teacher: Pass, stage: int, features: jax.Array) -> jax.Array:
  """Returns the logits that the teacher's later stages compute."""
  dtype = teacher.features.boundaries[stage].dtype
  return teacher.tail(features.astype(dtype), stage + 1).logits


def _divergence(logits: jax.Array, teacher_logits: jax.Array) -> jax.Array:
  """Returns the mean divergence from the teacher's classes, in nats."""
  return losses.soft_target_kl(logits, teacher_logits, temperature=1.0).mean()


def _steepest(
  teacher: Pass, stage: int, target: jax.Array, start: jax.Array
) -> jax.Array:
  """Returns the direction of each image that changes its logits most."""

  def logits(features: jax.Array) -> jax.Array:
    return _logits(teacher, stage, features)

  unperturbed, pullback = _jax.vjp(logits, target)

  def iterate(direction: jax.Array, _: None) -> tuple[jax.Array, None]:
    # J v by a difference: the networks have reverse-mode derivatives only.
    change = logits(target + _perturbation(direction, target)) - unperturbed
    return pullback(change.astype(unperturbed.dtype))[0], None

  direction, _ = jax.lax.scan(iterate, start, length=_ITERATIONS)
  return direction


def _perturbation(direction: jax.Array, target: jax.Array) -> jax.Array:
  """Returns the direction with a tenth of the norm of each image's features."""
  axes = tuple(range(1, target.ndim))
  norm, size = (
    jnp.sqrt(jnp.sum(x**2, axis=axes, keepdims=True))
    for x in (direction, target)
  )
  return _RELATIVE_NORM * size * direction / jnp.where(norm > 0, norm, 1)
