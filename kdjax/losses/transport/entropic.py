"""Solver of entropic transport: Sinkhorn iterations of ott, Newton steps."""

# pyright: reportUnknownMemberType=false

import functools
import warnings
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp

from kdjax.losses.numerics import machine_epsilon, replicated


class EntropicSolution(NamedTuple):
  """Entropic transport problem with its optimal dual potentials.

  Attributes:
    cost: `[n, m]`.
    epsilon: `[]`, in the unit of the cost.
    f: `[n]`, dual potential of the rows.
    g: `[m]`, dual potential of the columns.
  """

  cost: jax.Array
  epsilon: jax.Array
  f: jax.Array
  g: jax.Array

  @property
  def plan(self) -> jax.Array:
    """Mass of each pair, `[n, m]`, for uniform marginals."""
    exponent = (self.f[:, None] + self.g - self.cost) / self.epsilon
    return jnp.exp(exponent) / self.cost.size


class StoppingRule(NamedTuple):
  """Limits of the iterations.

  Attributes:
    iterations: Maximum number of Sinkhorn iterations.
    tolerance: Error of the marginals, summed over the samples, at which the
      Sinkhorn iterations stop.
    newton_steps: Maximum number of Newton steps after them.
  """

  iterations: int
  tolerance: float
  newton_steps: int


def solve(
  cost: jax.Array,
  epsilon: jax.Array,
  stopping: StoppingRule,
  *,
  symmetric: bool = False,
) -> EntropicSolution:
  """Solves an entropic transport problem with uniform marginals.

  Args:
    cost: Float `[n, m]`.
    epsilon: `[]`, in the unit of the cost.
    stopping: Limits of the iterations.
    symmetric: Whether the cost is that of a batch with itself. Averaged
      updates then converge in a few iterations.

  Returns:
    The solution. Gradients flow to its cost but not to its potentials.
  """
  constant = replicated(jax.lax.stop_gradient(cost))
  # ott takes epsilon as a Python number only, so the cost is divided by it.
  f, g = _sinkhorn_potentials(constant / epsilon, stopping, symmetric)
  n, m = cost.shape
  # Potentials of ott include the logarithms of the weights, ours do not.
  f = epsilon * (f + jnp.log(n))
  g = epsilon * (g + jnp.log(m))
  solution = EntropicSolution(constant, epsilon, f, g)
  if stopping.newton_steps:
    solution = _newton(solution, stopping.newton_steps)
  f, g = jax.lax.stop_gradient((replicated(solution.f), replicated(solution.g)))
  return EntropicSolution(cost, epsilon, f, g)


def _sinkhorn_potentials(
  cost: jax.Array, stopping: StoppingRule, symmetric: bool
) -> tuple[jax.Array, jax.Array]:
  """Computes the potentials by ott's iterations in the log domain."""
  ott = _import_ott()
  settings: dict[str, Any] = {}
  if symmetric:
    settings['parallel_dual_updates'] = True
    settings['momentum'] = ott.acceleration.Momentum(start=0, value=0.5)
  solver = ott.sinkhorn.Sinkhorn(
    threshold=stopping.tolerance,
    max_iterations=stopping.iterations,
    **settings,
  )
  scaled = ott.geometry.Geometry(cost_matrix=cost, epsilon=1.0)
  result = solver(ott.linear_problem.LinearProblem(scaled))
  return result.f, result.g


class _Ott(NamedTuple):
  """Modules of ott."""

  acceleration: Any
  geometry: Any
  linear_problem: Any
  sinkhorn: Any


@functools.cache
def _import_ott() -> _Ott:
  """Imports ott on first use: its import takes longer than that of jax."""
  with warnings.catch_warnings():
    # A dependency of ott announces its end on import.
    warnings.simplefilter('ignore', DeprecationWarning)
    from ott.geometry import geometry
    from ott.problems.linear import linear_problem
    from ott.solvers.linear import acceleration, sinkhorn
  return _Ott(acceleration, geometry, linear_problem, sinkhorn)


def newton_direction(
  solution: EntropicSolution,
) -> tuple[jax.Array, jax.Array]:
  """Computes the Newton step of the potentials towards the exact marginals.

  Args:
    solution: A problem with potentials near the optimum.

  Returns:
    Changes of f `[n]` and g `[m]`. Gradients flow through the residuals of the
    marginals, not through the Hessian.
  """
  (n, m), plan = solution.cost.shape, solution.plan
  rows, columns = jnp.sum(plan, axis=1), jnp.sum(plan, axis=0)
  hessian = jnp.block([[jnp.diag(rows), plan], [plan.T, jnp.diag(columns)]])
  # f + c and g - c give the same plan, so the matrix is singular along that
  # direction, and nearly so elsewhere if the plan is nearly a permutation.
  null = jnp.concatenate([jnp.ones(n), -jnp.ones(m)]).astype(plan.dtype)
  hessian = hessian + null[:, None] * null / (n * m)
  ridge = 64 * machine_epsilon(plan.dtype) / max(n, m)
  hessian = hessian + ridge * jnp.eye(n + m, dtype=plan.dtype)
  residual = jnp.concatenate([1 / n - rows, 1 / m - columns])
  change = cast(
    jax.Array, jnp.linalg.solve(jax.lax.stop_gradient(hessian), residual)
  )
  change = solution.epsilon * change
  return change[:n], change[n:]


def _newton(solution: EntropicSolution, steps: int) -> EntropicSolution:
  """Performs damped Newton steps until the marginals are exact to rounding."""
  n, m = solution.cost.shape
  tolerance = 4 * machine_epsilon(solution.cost.dtype)

  def error(current: EntropicSolution) -> jax.Array:
    rows = jnp.sum(jnp.abs(jnp.sum(current.plan, axis=1) - 1 / n))
    return rows + jnp.sum(jnp.abs(jnp.sum(current.plan, axis=0) - 1 / m))

  def step(
    carry: tuple[EntropicSolution, jax.Array],
  ) -> tuple[EntropicSolution, jax.Array]:
    current, count = carry
    f, g = newton_direction(current)
    # Far from the optimum a full step would overshoot the exponential.
    size = jnp.max(jnp.abs(f[:, None] + g)) / current.epsilon
    damping = 1 / (1 + size)
    current = current._replace(
      f=current.f + damping * f, g=current.g + damping * g
    )
    return current, count + 1

  return jax.lax.while_loop(
    lambda carry: (error(carry[0]) > tolerance) & (carry[1] < steps),
    step,
    (solution, jnp.int32(0)),
  )[0]
