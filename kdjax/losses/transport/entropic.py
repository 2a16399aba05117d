"""Entropic transport at its optimum: ott's iterations, Newton's last digits."""

import functools
import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from kdjax.losses.numerics import whole


class Entropic(NamedTuple):
  """An entropic problem at its optimum."""

  cost: jax.Array  # [n, m]
  epsilon: jax.Array  # []
  f: jax.Array  # [n] dual potentials
  g: jax.Array  # [m]

  @property
  def plan(self) -> jax.Array:
    """Mass of each pair, against uniform weights."""
    exponent = (self.f[:, None] + self.g - self.cost) / self.epsilon
    return jnp.exp(exponent) / self.cost.size


class Effort(NamedTuple):
  """When to stop."""

  iterations: int  # at most
  tolerance: float  # of the marginals, summed over all samples
  newton_steps: int  # at most, afterwards


def solve(
  cost: jax.Array,
  epsilon: jax.Array,
  effort: Effort,
  *,
  symmetric: bool = False,
) -> Entropic:
  """The optimum; its potentials have no gradient, its cost has.

  Args:
    cost: Float `[n, m]`.
    epsilon: In the units of the cost.
    effort: When to stop.
    symmetric: Whether the cost is that of a batch with itself: averaged
      updates then converge in a few iterations.
  """
  fixed = whole(jax.lax.stop_gradient(cost))
  # In units of epsilon, which ott takes as a number only.
  f, g = _iterated(fixed / epsilon, effort, symmetric)
  n, m = cost.shape
  # ott's potentials contain the weights' logarithms, ours do not.
  f = epsilon * (f + jnp.log(n))
  g = epsilon * (g + jnp.log(m))
  solved = Entropic(fixed, epsilon, f, g)
  if effort.newton_steps:
    solved = _polished(solved, effort.newton_steps)
  f, g = jax.lax.stop_gradient((whole(solved.f), whole(solved.g)))
  return Entropic(cost, epsilon, f, g)


def _iterated(
  cost: jax.Array, effort: Effort, symmetric: bool
) -> tuple[jax.Array, jax.Array]:
  """The potentials that ott's iterations in the log domain end with."""
  ott = _ott()
  settings = {}
  if symmetric:
    settings['parallel_dual_updates'] = True
    settings['momentum'] = ott.acceleration.Momentum(start=0, value=0.5)
  solver = ott.sinkhorn.Sinkhorn(
    threshold=effort.tolerance, max_iterations=effort.iterations, **settings
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
def _ott() -> _Ott:
  """ott, when first asked for: its import takes longer than all of jax's."""
  with warnings.catch_warnings():
    # One of its own dependencies announces its end on import.
    warnings.simplefilter('ignore', DeprecationWarning)
    from ott.geometry import geometry
    from ott.problems.linear import linear_problem
    from ott.solvers.linear import acceleration, sinkhorn
  return _Ott(acceleration, geometry, linear_problem, sinkhorn)


def newton_direction(solved: Entropic) -> tuple[jax.Array, jax.Array]:
  """Change of the potentials that would set both marginals right."""
  (n, m), plan = solved.cost.shape, solved.plan
  rows, columns = jnp.sum(plan, axis=1), jnp.sum(plan, axis=0)
  hessian = jnp.block([[jnp.diag(rows), plan], [plan.T, jnp.diag(columns)]])
  # f + c, g - c is the same plan: the matrix is made regular along it, and a
  # little everywhere, for plans that are nearly a permutation.
  along = jnp.concatenate([jnp.ones(n), -jnp.ones(m)]).astype(plan.dtype)
  hessian = hessian + along[:, None] * along / (n * m)
  floor = 64 * jnp.finfo(plan.dtype).eps / max(n, m)
  hessian = hessian + floor * jnp.eye(n + m, dtype=plan.dtype)
  missing = jnp.concatenate([1 / n - rows, 1 / m - columns])
  change = jnp.linalg.solve(jax.lax.stop_gradient(hessian), missing)
  change = solved.epsilon * change
  return change[:n], change[n:]


def _polished(solved: Entropic, steps: int) -> Entropic:
  """Damped Newton steps until the marginals hold to rounding."""
  n, m = solved.cost.shape
  tolerance = 4 * jnp.finfo(solved.cost.dtype).eps

  def error(now):
    rows = jnp.sum(jnp.abs(jnp.sum(now.plan, axis=1) - 1 / n))
    return rows + jnp.sum(jnp.abs(jnp.sum(now.plan, axis=0) - 1 / m))

  def step(carry):
    now, count = carry
    f, g = newton_direction(now)
    # Far from the optimum a full step would overshoot the exponential.
    size = jnp.max(jnp.abs(f[:, None] + g)) / now.epsilon
    damp = 1 / (1 + size)
    return now._replace(f=now.f + damp * f, g=now.g + damp * g), count + 1

  return jax.lax.while_loop(
    lambda carry: (error(carry[0]) > tolerance) & (carry[1] < steps),
    step,
    (solved, 0),
  )[0]
