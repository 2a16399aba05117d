"""Two stages: the method's own parts come first, then everything.

A part that joins two networks begins at random, and what it hands back to the
student at first is noise. LSHFM's multi-label recipe trains it alone before.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import optax
import tyro

from kdjax.methods.base import Terms
from kdjax.network import Network
from kdjax.train.recipe import Recipe


@tyro.conf.configure(tyro.conf.OmitArgPrefixes)
@dataclasses.dataclass(frozen=True, kw_only=True)
class StagedRecipe(Recipe):
  """A recipe with epochs before its epochs.

  In these the student stands still, though its running statistics move, and the
  method trains its own parts by its terms alone. They have a schedule of their
  own, and then the optimiser forgets. A method without parts skips them.

  Attributes:
    every_step: Whether the rate moves within an epoch too.
    align_epochs: How many come first.
    align_factor: Of the method's terms in them.
    body_factor: Of the rate of all that lies below the network's classifier:
      weights that begin well move less than what begins at random.
  """

  every_step: bool = True
  align_epochs: int = 60
  align_factor: float = 1.0
  body_factor: float = 1.0

  def __post_init__(self):
    """Checks what would otherwise fail deep inside a run."""
    super().__post_init__()
    if self.align_epochs < 0 or not 0 < self.align_factor < math.inf:
      raise ValueError(
        'align_epochs must be zero or more and align_factor positive, got '
        f'{self.align_epochs} and {self.align_factor}.'
      )
    if not 0 <= self.body_factor < math.inf:
      raise ValueError(
        f'body_factor must be zero or more, got {self.body_factor}.'
      )

  def without_stages(self) -> 'StagedRecipe':
    """The same without what comes before the student moves."""
    return dataclasses.replace(self, align_epochs=0, align_factor=1.0)


def slower_body(
  optimizer: optax.GradientTransformation, network: Network, factor: float
) -> optax.GradientTransformation:
  """The optimiser of a step's parameters, with the body's updates scaled.

  Raises:
    ValueError: When it is used, if the network does not say where its
      classifier is.
  """
  if factor == 1:
    return optimizer

  def scale(updates: Any, params: Any = None) -> Any:
    del params
    own = updates['student']
    scaled = jax.tree.map(
      lambda below, update: factor * update if below else update,
      network.is_body(own),
      own,
    )
    return {**updates, 'student': scaled}

  return optax.chain(optimizer, optax.stateless(scale))


def staged_terms(
  terms: Terms, step: jax.Array, align_steps: int, align_factor: float
) -> Terms:
  """The terms; in the first `align_steps` steps the method's alone."""
  if not align_steps:
    return terms
  aligns = step < align_steps
  factors = dict.fromkeys(terms, align_factor) | {'task': 0.0}
  return {
    name: term * jnp.where(aligns, factors[name], 1.0)
    for name, term in terms.items()
  }


def without_momentum(
  opt_state: optax.OptState, step: jax.Array, align_steps: int
) -> optax.OptState:
  """The optimiser's state; all but its counts is zero at step `align_steps`."""
  if not align_steps:
    return opt_state
  return jax.tree.map(
    lambda leaf: (
      jnp.where(step == align_steps, jnp.zeros_like(leaf), leaf)
      if jnp.issubdtype(leaf.dtype, jnp.floating)
      else leaf
    ),
    opt_state,
  )
