"""Value and gradients of a convolution: separately, in a scan, and XLA's.

  python -m benchmarks.convolution

On the CPU the gradients that XLA derives are 20 to 90 times slower in a loop
than outside. In a loop ours must take at most 1.3 times the time of the same
step outside. `xla` is XLA's own gradient outside of a loop; ours must not be
slower. Writes `benchmarks/results/convolution.json`.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import flag_types, timing
from kdjax.layers.convolution import conv2d

_STEPS = 4

# batch, size, channels, outputs, kernel, stride, groups
_CASES = (
  (64, 32, 16, 16, 3, 1, 1),
  (64, 32, 32, 64, 3, 2, 1),
  (64, 16, 32, 64, 1, 2, 1),
  (64, 16, 64, 64, 3, 1, 1),
  (64, 8, 240, 60, 1, 1, 3),
  (64, 8, 96, 96, 3, 1, 96),
)


def xla_conv2d(x, kernel, *, strides, padding, groups):
  return jax.lax.conv_general_dilated(
    x,
    kernel,
    (strides, strides),
    [(padding, padding)] * 2,
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    feature_group_count=groups,
  )


def step(conv, settings, carry):
  """Changes image and kernel by their gradients, so that both are computed."""

  def loss(x, kernel):
    return jnp.square(conv(x, kernel, **settings)).mean()

  gradients = jax.grad(loss, (0, 1))(*carry)
  return jax.tree.map(lambda a, g: a - 1e-3 * g, carry, gradients)


def measure(case: tuple[int, ...], repeats: int) -> dict[str, Any]:
  """Returns the row of a convolution; for `case` see `_CASES`."""
  batch, size, channels, outputs, kernel_size, strides, groups = case
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.normal(size=(batch, size, size, channels)), jnp.float32)
  kernel = jnp.asarray(
    rng.normal(size=(kernel_size, kernel_size, channels // groups, outputs)),
    jnp.float32,
  )

  settings = {
    'strides': strides,
    'padding': kernel_size // 2,
    'groups': groups,
  }
  ours = functools.partial(step, conv2d, settings)
  xla = functools.partial(step, xla_conv2d, settings)

  def scan(carry):
    return jax.lax.scan(lambda c, _: (ours(c), None), carry, length=_STEPS)[0]

  carry = (x, kernel)
  seconds = timing.take_turns(
    {
      'alone': timing.chained(ours, carry, _STEPS),
      'in_scan': timing.compiled(scan, carry),
      'xla': timing.chained(xla, carry, _STEPS),
    },
    repeats=repeats,
  )
  return {
    'case': f'{batch}x{size}x{size}, {channels}->{outputs}, '
    f'{kernel_size}x{kernel_size}, stride {strides}, groups {groups}',
    'seconds_for_steps': _STEPS,
    'scan_to_alone': timing.ratio(seconds, 'in_scan', 'alone'),
    **seconds,
  }


def main() -> None:
  """Measures and writes."""
  parser = flag_types.make_parser(__doc__, repeats=7)
  parser.add_argument('--cases', type=int, default=len(_CASES))
  flags = parser.parse_args()
  rows = [measure(case, flags.repeats) for case in _CASES[: flags.cases]]
  timing.record(flags.output / 'convolution.json', rows)


if __name__ == '__main__':
  main()
