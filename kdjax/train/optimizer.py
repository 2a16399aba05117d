"""Optax transformations that training builds its optimizer from."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from kdjax.network import Network
from kdjax.typing import PyTree

Schedule = Callable[[jax.typing.ArrayLike], jax.Array]


def sgd(
  learning_rate: Schedule,
  *,
  momentum: float,
  nesterov: bool,
  weight_decay: float,
) -> optax.GradientTransformation:
  """Returns SGD with momentum and coupled weight decay, as in PyTorch.

  The update is `g + weight_decay · w`, then momentum, then the learning rate.
  The rate lies in the optimizer's state (`optax.inject_hyperparams`): see
  `learning_rate_of` and `scale_learning_rate`.

  Args:
    learning_rate: The rate as a function of the step.
    momentum: Factor of the previous update, in [0, 1).
    nesterov: Whether momentum is Nesterov's.
    weight_decay: Factor of the weights that is added to their gradient.
  """

  def make(
    learning_rate: jax.Array, learning_rate_factor: jax.Array
  ) -> optax.GradientTransformation:
    return optax.chain(
      optax.add_decayed_weights(weight_decay),
      optax.sgd(
        learning_rate * learning_rate_factor,
        momentum=momentum or None,
        nesterov=nesterov,
      ),
    )

  return optax.inject_hyperparams(make)(learning_rate, learning_rate_factor=1.0)


def learning_rate_of(opt_state: optax.OptState) -> float | None:
  """Returns the learning rate of the last step.

  `None` for an optimizer that does not hold its rate as `sgd` does.
  """
  hyperparams = optax.tree.get(opt_state, 'hyperparams')
  if hyperparams is None:
    return None
  rate = hyperparams['learning_rate'] * hyperparams['learning_rate_factor']
  return float(rate)


def scale_learning_rate(
  opt_state: optax.OptState, factor: float
) -> optax.OptState:
  """Returns the state of an optimizer whose rate is multiplied by a factor."""
  return optax.tree.set(opt_state, learning_rate_factor=jnp.float32(factor))


def partial_updates(
  inner: optax.GradientTransformation,
) -> optax.GradientTransformationExtraArgs:
  """Returns `inner` with parameters that may be inactive in some steps.

  A parameter whose gradient is zero is still decayed, and changes by its
  momentum. PyTorch's optimizers skip a parameter without a gradient, and
  methods that sample the trained parameters, such as FCFD, rely on it. Here
  `update(updates, state, params, active=…)` has an argument for the active
  parameters: inactive ones have a zero update, and their state in `inner` is
  unchanged. State of `inner` that all parameters share, such as the number of
  steps, is updated as usual.

  Args:
    inner: Any transformation whose state holds trees of the parameters'
      structure, or none.

  Returns:
    A transformation with the same state as `inner`. Its `active` is a tree
    prefix of the parameters, of bool `[]`, traced or not; `None` means all.
  """
  inner = optax.with_extra_args_support(inner)

  def update(
    updates: PyTree,
    state: optax.OptState,
    params: PyTree = None,
    *,
    active: PyTree = None,
    **extra: Any,
  ) -> tuple[PyTree, optax.OptState]:
    changes, new_state = inner.update(updates, state, params, **extra)
    if active is None or all(leaf is True for leaf in jax.tree.leaves(active)):
      return changes, new_state
    mask = _broadcast(active, updates)
    return _keep_inactive(inner, mask, changes, new_state, state)

  return optax.GradientTransformationExtraArgs(inner.init, update)


def skip_zero_gradients(
  inner: optax.GradientTransformation, steps: int
) -> optax.GradientTransformation:
  """Returns `inner`, which skips parameters without gradient in early steps.

  Args:
    inner: Any transformation, as for `partial_updates`.
    steps: In the first `steps` steps a parameter whose gradient is zero
      everywhere is not active.
  """
  inner = optax.with_extra_args_support(inner)

  def init(params: PyTree) -> Any:
    return jnp.zeros((), jnp.int32), inner.init(params)

  def update(
    updates: PyTree, state: Any, params: PyTree = None
  ) -> tuple[PyTree, Any]:
    count, inner_state = state
    changes, new_state = inner.update(updates, inner_state, params)
    mask = jax.tree.map(
      lambda gradient: (count >= steps) | jnp.any(gradient != 0), updates
    )
    changes, new_state = _keep_inactive(
      inner, mask, changes, new_state, inner_state
    )
    return changes, (count + 1, new_state)

  return optax.GradientTransformation(init, update)


def reset_at(
  inner: optax.GradientTransformation, steps: tuple[int, ...]
) -> optax.GradientTransformation:
  """Returns `inner`, whose momentum is set to zero before some steps.

  A parameter that is inactive in such a step (`partial_updates`) is reset
  before the next step in which it is active.

  Args:
    inner: Any transformation, as for `partial_updates`.
    steps: Numbers of the steps, counted from 0, before which everything that
      `inner` keeps for each parameter is set to zero.
  """
  if not steps:
    return inner
  inner = optax.with_extra_args_support(inner)

  def init(params: PyTree) -> Any:
    resets = jax.tree.map(lambda _: jnp.zeros((), jnp.int32), params)
    return jnp.zeros((), jnp.int32), resets, inner.init(params)

  def update(
    updates: PyTree, state: Any, params: PyTree = None
  ) -> tuple[PyTree, Any]:
    count, resets, inner_state = state
    due = jnp.sum(count >= jnp.asarray(steps), dtype=jnp.int32)
    inner_state = optax.tree.map_params(
      inner,
      lambda leaf, done: jnp.where(done < due, 0, leaf),
      inner_state,
      resets,
    )
    changes, inner_state = inner.update(updates, inner_state, params)
    resets = jax.tree.map(lambda _: due, resets)
    return changes, (count + 1, resets, inner_state)

  return optax.GradientTransformation(init, update)


def slower_body(
  optimizer: optax.GradientTransformation, network: Network, factor: float
) -> optax.GradientTransformation:
  """Returns the optimizer with scaled updates of the student's body.

  Args:
    optimizer: Optimizer of the parameters of a step.
    network: The student.
    factor: Factor of the updates of all parameters but the classifier's; 1
      returns the optimizer itself.

  Raises:
    ValueError: On use, if the network does not declare its classifier.
  """
  if factor == 1:
    return optimizer

  def scale(updates: Any, params: Any = None) -> Any:
    del params
    own = updates['student']
    scaled = jax.tree.map(
      lambda is_body, update: factor * update if is_body else update,
      network.is_body(own),
      own,
    )
    return {**updates, 'student': scaled}

  return optax.chain(optimizer, optax.stateless(scale))


def _keep_inactive(
  inner: optax.GradientTransformation,
  mask: PyTree,
  changes: PyTree,
  new_state: optax.OptState,
  old_state: optax.OptState,
) -> tuple[PyTree, optax.OptState]:
  """Returns zero changes and the old state where the mask is false."""
  changes = jax.tree.map(
    lambda on, change: jnp.where(on, change, jnp.zeros_like(change)),
    mask,
    changes,
  )
  masks = optax.tree.map_params(
    inner,
    lambda _, on: on,
    new_state,
    mask,
    transform_non_params=lambda _: True,
  )
  return changes, jax.tree.map(jnp.where, masks, new_state, old_state)


def _broadcast(prefix: PyTree, tree: PyTree) -> PyTree:
  """Returns a tree prefix with each leaf repeated for the leaves below it."""
  return jax.tree.map(
    lambda on, below: jax.tree.map(lambda _: on, below), prefix, tree
  )
