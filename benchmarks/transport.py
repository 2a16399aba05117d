"""Transport distances of two batches, compared with other implementations.

  python -m benchmarks.transport

Value and gradient, float32, width 512; the variants of a row take turns:

  exact     `exact_assignment` and `auction_assignment`, and POT with PyTorch;
            sizes above 512 compare the first two
  sinkhorn  `losses.sinkhorn_...`, and ott-jax alone
  gaussian  the nuclear norm, and eigendecompositions of d x d covariances
  step      a KD²M step with exact transport, and a KD step

`bytes` are arguments, results and temporaries as XLA reports them; for POT the
peak growth of a new process. Writes `benchmarks/results/transport.json`;
`--only` measures some of the rows and only prints them.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ott.geometry import pointcloud
from ott.solvers import linear
from ott.tools import sinkhorn_divergence

from benchmarks import flag_types, timing, torch_transport
from benchmarks._step import Pair
from kdjax import losses

WIDTH = 512
SIZES = (64, 128, 256, 512)
LARGE_SIZES = (1024, 2048)
KINDS = ('clustered', 'gaussian')

Clouds = tuple[np.ndarray, np.ndarray]
Distance = Callable[[jax.Array, jax.Array], jax.Array]


def clouds(kind: str, batch: int) -> Clouds:
  """Returns embeddings of student and teacher.

  They share classes but no images: the plan that assigns each image to itself,
  with which a search starts, is not optimal.

  Args:
    kind: `gaussian`, or `clustered`: ten classes around centers, after a ReLU.
    batch: Number of images.
  """
  rng = np.random.default_rng(batch)
  rows = rng.normal(size=(2, batch, WIDTH))
  if kind == 'clustered':
    centers = 2 * rng.normal(size=(10, WIDTH))
    shift = rng.normal(size=(2, 1, WIDTH))
    rows += centers[rng.integers(0, 10, batch)] + shift
    rows = np.maximum(rows, 0)
  student, teacher = rows.astype(np.float32)
  return student, teacher


class Compiled:
  """Compiled value and gradient of the distance of two batches."""

  def __init__(self, distance: Distance, pair: Clouds):
    self.pair = tuple(map(jnp.asarray, pair))
    self.function = jax.jit(jax.value_and_grad(distance))
    self.value, self.gradient = self.function(*self.pair)

  def __call__(self) -> None:
    jax.block_until_ready(self.function(*self.pair))

  @property
  def bytes(self) -> int:
    """Bytes of arguments, results and temporaries, as XLA reports them."""
    memory = self.function.lower(*self.pair).compile().memory_analysis()
    assert memory is not None
    return (
      memory.argument_size_in_bytes
      + memory.output_size_in_bytes
      + memory.temp_size_in_bytes
    )


def measure_exact(kind: str, batch: int, repeats: int) -> dict[str, Any]:
  """Returns a row: both solvers and POT."""
  pair = clouds(kind, batch)
  solvers = {
    'exact': losses.exact_assignment,
    'auction': losses.auction_assignment,
  }
  ours = {
    name: Compiled(functools.partial(losses.wasserstein2, assign=assign), pair)
    for name, assign in solvers.items()
  }
  value, _ = torch_transport.exact(*pair)
  _check_equal(value, ours['exact'].value)
  pot = functools.partial(torch_transport.exact, *pair)
  calls: dict[str, timing.Call] = {**ours, 'pot': pot}
  seconds = timing.take_turns(calls, repeats=repeats)
  cost = jnp.asarray(_distances(*pair))
  solved = {name: assign(cost) for name, assign in solvers.items()}
  return {
    'what': 'exact',
    'cloud': kind,
    'batch': batch,
    'exact_over_pot': timing.ratio(seconds, 'exact', 'pot'),
    'auction_over_exact': timing.ratio(seconds, 'auction', 'exact'),
    'auction_gap_over_cost': timing.digits(solved['auction'].gap / value),
    'steps_in_a_row': {name: int(s.steps) for name, s in solved.items()},
    'seconds': seconds,
    'bytes': {
      **{name: compiled.bytes for name, compiled in ours.items()},
      'pot': torch_transport.peak_bytes(batch, WIDTH),
    },
  }


def measure_sinkhorn(kind: str, batch: int, repeats: int) -> dict[str, Any]:
  """Returns a row: the regularized cost and the divergence, and ott-jax's."""
  pair = clouds(kind, batch)
  effort = {'threshold': 1e-4, 'max_iterations': 200}  # our defaults
  epsilon = 0.1 * float(_distances(*pair).mean())

  def regularized(x, y):
    cloud = pointcloud.PointCloud(x, y, epsilon=epsilon)
    return linear.solve(cloud, **effort).reg_ot_cost

  def divergence(x, y):
    return sinkhorn_divergence.sinkdiv(
      x, y, epsilon=epsilon, solve_kwargs=effort
    )[0]

  calls = {
    name: Compiled(distance, pair)
    for name, distance in (
      ('regularized', losses.sinkhorn_regularized),
      ('regularized_ott', regularized),
      ('divergence', losses.sinkhorn_divergence),
      ('divergence_ott', divergence),
    )
  }
  for name in ('regularized', 'divergence'):
    _check_equal(calls[name].value, calls[name + '_ott'].value)
  seconds = timing.take_turns(calls, repeats=repeats)
  return {
    'what': 'sinkhorn',
    'cloud': kind,
    'batch': batch,
    **{
      f'{name}_over_ott': timing.ratio(seconds, name, name + '_ott')
      for name in ('regularized', 'divergence')
    },
    'seconds': seconds,
    'bytes': {name: call.bytes for name, call in calls.items()},
  }


def by_eigenvalues(x: jax.Array, y: jax.Array) -> jax.Array:
  """Computes Gaussian transport by square roots of d x d covariances."""
  product = functools.partial(jnp.matmul, precision='highest')
  mean_x, mean_y = jnp.mean(x, axis=0), jnp.mean(y, axis=0)
  x, y = (x - mean_x) / len(x) ** 0.5, (y - mean_y) / len(y) ** 0.5
  values, vectors = jnp.linalg.eigh(product(x.T, x))
  root = product(vectors * jnp.sqrt(jnp.maximum(values, 0)), vectors.T)
  inner = product(root, product(product(y.T, y), root))
  values = jnp.linalg.eigh(inner)[0]
  cross = jnp.sum(jnp.sqrt(jnp.maximum(values, 0)))
  bures = jnp.sum(x**2) + jnp.sum(y**2) - 2 * cross
  return jnp.sum((mean_x - mean_y) ** 2) + bures


def measure_gaussian(kind: str, batch: int, repeats: int) -> dict[str, Any]:
  """Returns a row: the nuclear norm by products and SVD, and eigenvalues."""
  pair = clouds(kind, batch)
  full = losses.gaussian_wasserstein2_full
  calls = {
    'newton_schulz': Compiled(full, pair),
    'svd': Compiled(functools.partial(full, polar=losses.polar_svd), pair),
    'eigenvalues': Compiled(by_eigenvalues, pair),
  }
  expected = _gaussian_in_float64(*pair)
  seconds = timing.take_turns(calls, repeats=repeats)
  return {
    'what': 'gaussian',
    'cloud': kind,
    'batch': batch,
    'eigenvalues_over_newton_schulz': timing.ratio(
      seconds, 'eigenvalues', 'newton_schulz'
    ),
    'eigenvalues_over_svd': timing.ratio(seconds, 'eigenvalues', 'svd'),
    'relative_error': {
      name: timing.digits(abs(call.value - expected) / expected)
      for name, call in calls.items()
    },
    'gradient_is_finite': {
      name: bool(jnp.all(jnp.isfinite(call.gradient)))
      for name, call in calls.items()
    },
    'seconds': seconds,
    'bytes': {name: call.bytes for name, call in calls.items()},
  }


def measure_step(repeats: int) -> dict[str, Any]:
  """Returns a row: steps of both methods, separately and in the loop."""
  pair, batch, steps = ('resnet32x4', 'resnet8x4'), 128, 4
  methods = {name: Pair(*pair, name, batch) for name in ('kd', 'kd2m')}
  calls = {name: functools.partial(m.alone, 1) for name, m in methods.items()}
  for name, method in methods.items():
    calls[f'{name}_loop'] = functools.partial(method.loop, steps)
  seconds = timing.take_turns(calls, repeats=repeats)
  return {
    'what': 'step',
    'teacher': pair[0],
    'student': pair[1],
    'batch': batch,
    'kd2m_over_kd': timing.ratio(seconds, 'kd2m', 'kd'),
    'kd2m_over_kd_in_loop': timing.ratio(seconds, 'kd2m_loop', 'kd_loop'),
    'steps_of_loop': steps,
    'seconds': seconds,
  }


def _distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
  """Computes all squared distances in float64, float32 `[n, m]`."""
  x, y = x.astype(np.float64), y.astype(np.float64)
  squares = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1)
  return (squares - 2 * x @ y.T).astype(np.float32)


def _gaussian_in_float64(x: np.ndarray, y: np.ndarray) -> float:
  x, y = x.astype(np.float64), y.astype(np.float64)
  means = ((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum()
  x, y = x - x.mean(axis=0), y - y.mean(axis=0)
  norm = np.linalg.svd(x @ y.T, compute_uv=False).sum()
  return means + ((x**2).sum() + (y**2).sum() - 2 * norm) / len(x)


def _check_equal(x: Any, y: Any) -> None:
  """Raises a `ValueError` unless two implementations return equal values."""
  if not abs(float(x) - float(y)) <= 1e-4 * abs(float(y)):
    raise ValueError(f'Two implementations differ: {x} and {y}.')


_PAIRWISE = {
  'exact': measure_exact,
  'sinkhorn': measure_sinkhorn,
  'gaussian': measure_gaussian,
}


def main() -> None:
  """Measures and writes."""
  parser = flag_types.make_parser(__doc__, repeats=21)
  parser.add_argument('--sizes', type=int, nargs='+', default=SIZES)
  parser.add_argument('--only', nargs='+', choices=(*_PAIRWISE, 'step'))
  flags = parser.parse_args()
  rows = []
  for name in flags.only or (*_PAIRWISE, 'step'):
    print(f'measuring {name}', flush=True)
    if name == 'step':
      rows.append(measure_step(repeats=min(5, flags.repeats)))
      continue
    sizes = [(size, flags.repeats) for size in flags.sizes]
    if name == 'exact' and not flags.only:
      sizes += [(size, 3) for size in LARGE_SIZES]
    for kind in KINDS:
      for size, repeats in sizes:
        rows.append(_PAIRWISE[name](kind, size, repeats))
  if flags.only:
    for row in rows:
      print(row)
  else:
    timing.record(flags.output / 'transport.json', rows)


if __name__ == '__main__':
  main()
