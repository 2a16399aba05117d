"""Entropic transport: cost, regularised cost and debiased divergence."""

import jax
import jax.numpy as jnp

from kdjax.losses.numerics import clouds
from kdjax.losses.transport.cost import self_distances, squared_distances
from kdjax.losses.transport.entropic import (
  Effort,
  Entropic,
  newton_direction,
  solve,
)


def sinkhorn_divergence(
  student: jax.Array,
  teacher: jax.Array,
  *,
  epsilon: jax.typing.ArrayLike = 0.1,
  iterations: int = 200,
  tolerance: float = 1e-4,
  newton_steps: int = 0,
) -> jax.Array:
  r"""Debiased entropic transport cost.

  .. math::
    \mathrm{OT}_\varepsilon(X, Y) - \tfrac12 \mathrm{OT}_\varepsilon(X, X)
      - \tfrac12 \mathrm{OT}_\varepsilon(Y, Y)

  with `sinkhorn_regularized` for :math:`\mathrm{OT}_\varepsilon` and the
  :math:`\varepsilon` of the pair XY in all three. Zero, with zero gradient, for
  equal batches, unlike its parts; between :math:`W_2^2`
  (:math:`\varepsilon \to 0`) and the distance of the means
  (:math:`\varepsilon \to \infty`). The one of the three to train with.

  Args:
    student: :math:`X`, float `[n, d]`.
    teacher: :math:`Y`, float `[m, d]`.
    epsilon: :math:`\varepsilon` as a fraction of the mean squared distance of
      the pairs XY, which is held fixed in the gradient. Checked if it is a
      plain number.
    iterations: At most so many of Sinkhorn's.
    tolerance: They stop once the marginals, all samples together, are off by
      less.
    newton_steps: At most so many steps of Newton's method afterwards, for
      digits that Sinkhorn's own iterations reach too slowly. Each solves a
      system of n + m unknowns.

  Returns:
    A scalar, squared.

  Raises:
    ValueError: If the widths differ, a batch is empty or epsilon not positive.

  References:
    Feydy et al., `Interpolating between Optimal Transport and MMD using
    Sinkhorn Divergences <https://arxiv.org/abs/1810.08278>`_, 2019.
  """
  student, teacher = clouds('sinkhorn_divergence', student, teacher)
  cross = squared_distances(student, teacher)
  absolute = _absolute(cross, epsilon)
  effort = Effort(iterations, tolerance, newton_steps)
  own = [
    _value(solve(self_distances(cloud), absolute, effort, symmetric=True))
    for cloud in (student, teacher)
  ]
  return _value(solve(cross, absolute, effort)) - (own[0] + own[1]) / 2


def sinkhorn_regularized(
  student: jax.Array,
  teacher: jax.Array,
  *,
  epsilon: jax.typing.ArrayLike = 0.1,
  iterations: int = 200,
  tolerance: float = 1e-4,
  newton_steps: int = 0,
) -> jax.Array:
  r"""Transport cost with the entropic penalty.

  .. math::
    \mathrm{OT}_\varepsilon = \min_\gamma \langle \gamma, C \rangle
      + \varepsilon \, \mathrm{KL}(\gamma \,\|\, a \otimes b)

  over plans with uniform marginals a and b. Not zero for equal batches: it
  draws features together. The plan is held fixed in the gradient, which is
  exact at the optimum.

  Args:
    student: Float `[n, d]`.
    teacher: Float `[m, d]`.
    epsilon: See `sinkhorn_divergence`.
    iterations: See `sinkhorn_divergence`.
    tolerance: See `sinkhorn_divergence`.
    newton_steps: See `sinkhorn_divergence`.

  Returns:
    A scalar, squared: never below `sinkhorn_cost`, if converged.

  Raises:
    ValueError: If the widths differ, a batch is empty or epsilon not positive.

  References:
    Cuturi, `Sinkhorn Distances <https://arxiv.org/abs/1306.0895>`_, 2013.
  """
  student, teacher = clouds('sinkhorn_regularized', student, teacher)
  cost = squared_distances(student, teacher)
  absolute = _absolute(cost, epsilon)
  effort = Effort(iterations, tolerance, newton_steps)
  return _value(solve(cost, absolute, effort))


def sinkhorn_cost(
  student: jax.Array,
  teacher: jax.Array,
  *,
  epsilon: jax.typing.ArrayLike = 0.1,
  iterations: int = 200,
  tolerance: float = 1e-4,
  newton_steps: int = 0,
) -> jax.Array:
  r"""Transport cost :math:`\langle \gamma, C \rangle` of the entropic plan.

  Its gradient is the total derivative: how the plan moves with the features
  counts too (implicit differentiation, one system of n + m unknowns). Not zero
  for equal batches. For training prefer `sinkhorn_divergence`.

  Args:
    student: Float `[n, d]`.
    teacher: Float `[m, d]`.
    epsilon: See `sinkhorn_divergence`.
    iterations: See `sinkhorn_divergence`.
    tolerance: See `sinkhorn_divergence`.
    newton_steps: See `sinkhorn_divergence`.

  Returns:
    A scalar, squared: never below `wasserstein2`, if converged.

  Raises:
    ValueError: If the widths differ, a batch is empty or epsilon not positive.
  """
  student, teacher = clouds('sinkhorn_cost', student, teacher)
  cost = squared_distances(student, teacher)
  absolute = _absolute(cost, epsilon)
  effort = Effort(iterations, tolerance, newton_steps)
  solved = solve(cost, absolute, effort)
  # From the optimum, which a step of Newton's leaves in place, that step's
  # derivative is the derivative of the optimum.
  f, g = newton_direction(solved)
  moved = solved._replace(f=solved.f + f, g=solved.g + g)
  return jnp.sum(moved.plan * cost)


def _absolute(cost: jax.Array, epsilon: jax.typing.ArrayLike) -> jax.Array:
  """Epsilon in the units of the cost."""
  if isinstance(epsilon, int | float) and not epsilon > 0:
    raise ValueError(f'epsilon must be positive, got {epsilon}.')
  mean = jax.lax.stop_gradient(jnp.mean(cost))
  return jnp.where(mean > 0, mean, 1) * epsilon


def _value(solved: Entropic) -> jax.Array:
  """The dual's value: the regularised cost, plan fixed in its gradient."""
  potentials = jnp.mean(solved.f) + jnp.mean(solved.g)
  return potentials - solved.epsilon * (jnp.sum(solved.plan) - 1)
