"""Entropic transport: cost, regularized cost and debiased divergence."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from kdjax.losses.numerics import promote_embeddings
from kdjax.losses.transport.cost import self_distances, squared_distances
from kdjax.losses.transport.entropic import (
  EntropicSolution,
  StoppingRule,
  newton_direction,
  solve,
)


def sinkhorn_divergence(
  student: jax.Array,
  teacher: jax.Array,
  *,
  epsilon: ArrayLike = 0.1,
  iterations: int = 200,
  tolerance: float = 1e-4,
  newton_steps: int = 0,
) -> jax.Array:
  r"""Computes the debiased entropic transport cost.

  .. math::
    \mathrm{OT}_\varepsilon(X, Y) - \tfrac12 \mathrm{OT}_\varepsilon(X, X)
      - \tfrac12 \mathrm{OT}_\varepsilon(Y, Y)

  with `sinkhorn_regularized` for :math:`\mathrm{OT}_\varepsilon` and the
  :math:`\varepsilon` of the pair XY in all three terms. Unlike its terms it is
  zero, with zero gradient, for equal batches. It interpolates between
  :math:`W_2^2` (:math:`\varepsilon \to 0`) and the squared distance of the
  means (:math:`\varepsilon \to \infty`). Prefer it to the other two entropic
  costs for training.

  Args:
    student: :math:`X`, float `[n, d]`.
    teacher: :math:`Y`, float `[m, d]`.
    epsilon: :math:`\varepsilon` as a fraction of the mean squared distance of
      the pairs XY, which is constant in the gradient. Checked only if it is a
      Python number.
    iterations: Maximum number of Sinkhorn iterations.
    tolerance: Error of the marginals, summed over the samples, at which the
      iterations stop.
    newton_steps: Maximum number of Newton steps after them, for digits that
      Sinkhorn iterations reach too slowly. Each step solves a linear system of
      n + m unknowns.

  Returns:
    A scalar, in at least float32: a squared distance summed over the features.

  Raises:
    ValueError: If the widths differ, a batch is empty or epsilon is not
      positive.

  References:
    Feydy et al., `Interpolating between Optimal Transport and MMD using
    Sinkhorn Divergences <https://arxiv.org/abs/1810.08278>`_, 2019.

  Examples:
    >>> import jax.numpy as jnp
    >>> from kdjax import losses
    >>> student = jnp.array([[0.0], [2.0]])
    >>> teacher = jnp.array([[5.0], [1.0]])
    >>> distance = losses.sinkhorn_divergence(student, teacher, epsilon=0.2)
    >>> print(round(float(distance), 2))  # wasserstein2 is 5
    5.07
    >>> same = losses.sinkhorn_divergence(student, student)
    >>> print(abs(round(float(same), 2)))
    0.0
  """
  student, teacher = promote_embeddings('sinkhorn_divergence', student, teacher)
  cross = squared_distances(student, teacher)
  absolute = _absolute_epsilon(cross, epsilon)
  stopping = StoppingRule(iterations, tolerance, newton_steps)
  own = [
    _dual_value(
      solve(self_distances(samples), absolute, stopping, symmetric=True)
    )
    for samples in (student, teacher)
  ]
  return _dual_value(solve(cross, absolute, stopping)) - (own[0] + own[1]) / 2


def sinkhorn_regularized(
  student: jax.Array,
  teacher: jax.Array,
  *,
  epsilon: ArrayLike = 0.1,
  iterations: int = 200,
  tolerance: float = 1e-4,
  newton_steps: int = 0,
) -> jax.Array:
  r"""Computes the transport cost with its entropic penalty.

  .. math::
    \mathrm{OT}_\varepsilon = \min_\gamma \langle \gamma, C \rangle
      + \varepsilon \, \mathrm{KL}(\gamma \,\|\, a \otimes b)

  over plans with uniform marginals a and b. It is not zero for equal batches:
  minimizing it contracts the features. The plan is constant in the gradient,
  which is exact at the optimum.

  Args:
    student: Float `[n, d]`.
    teacher: Float `[m, d]`.
    epsilon: See `sinkhorn_divergence`.
    iterations: See `sinkhorn_divergence`.
    tolerance: See `sinkhorn_divergence`.
    newton_steps: See `sinkhorn_divergence`.

  Returns:
    A scalar, in at least float32: a squared distance summed over the features,
    not below `sinkhorn_cost` if converged.

  Raises:
    ValueError: If the widths differ, a batch is empty or epsilon is not
      positive.

  References:
    Cuturi, `Sinkhorn Distances <https://arxiv.org/abs/1306.0895>`_, 2013.
  """
  student, teacher = promote_embeddings(
    'sinkhorn_regularized', student, teacher
  )
  cost = squared_distances(student, teacher)
  absolute = _absolute_epsilon(cost, epsilon)
  stopping = StoppingRule(iterations, tolerance, newton_steps)
  return _dual_value(solve(cost, absolute, stopping))


def sinkhorn_cost(
  student: jax.Array,
  teacher: jax.Array,
  *,
  epsilon: ArrayLike = 0.1,
  iterations: int = 200,
  tolerance: float = 1e-4,
  newton_steps: int = 0,
) -> jax.Array:
  r"""Computes the cost :math:`\langle \gamma, C \rangle` of the entropic plan.

  Its gradient is the total derivative, including the dependence of the plan on
  the features (implicit differentiation, one linear system of n + m unknowns).
  It is not zero for equal batches; prefer `sinkhorn_divergence` for training.

  Args:
    student: Float `[n, d]`.
    teacher: Float `[m, d]`.
    epsilon: See `sinkhorn_divergence`.
    iterations: See `sinkhorn_divergence`.
    tolerance: See `sinkhorn_divergence`.
    newton_steps: See `sinkhorn_divergence`.

  Returns:
    A scalar, in at least float32: a squared distance summed over the features,
    not below `wasserstein2` if converged.

  Raises:
    ValueError: If the widths differ, a batch is empty or epsilon is not
      positive.

  References:
    Cuturi, `Sinkhorn Distances <https://arxiv.org/abs/1306.0895>`_, 2013.
  """
  student, teacher = promote_embeddings('sinkhorn_cost', student, teacher)
  cost = squared_distances(student, teacher)
  absolute = _absolute_epsilon(cost, epsilon)
  stopping = StoppingRule(iterations, tolerance, newton_steps)
  solution = solve(cost, absolute, stopping)
  # A Newton step does not change the optimum, so its derivative there is the
  # derivative of the optimum.
  f, g = newton_direction(solution)
  stepped = solution._replace(f=solution.f + f, g=solution.g + g)
  return jnp.sum(stepped.plan * cost)


def _absolute_epsilon(cost: jax.Array, epsilon: ArrayLike) -> jax.Array:
  """Converts epsilon from a fraction of the mean cost to the cost's unit."""
  if isinstance(epsilon, int | float) and not epsilon > 0:
    raise ValueError(f'epsilon must be positive, got {epsilon}.')
  mean = jax.lax.stop_gradient(jnp.mean(cost))
  return jnp.where(mean > 0, mean, 1) * epsilon


def _dual_value(solution: EntropicSolution) -> jax.Array:
  """Computes the regularized cost as the value of the dual problem.

  The plan is constant in its gradient.
  """
  potentials = jnp.mean(solution.f) + jnp.mean(solution.g)
  return potentials - solution.epsilon * (jnp.sum(solution.plan) - 1)
