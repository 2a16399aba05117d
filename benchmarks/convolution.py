"""A convolution's value and gradients: alone, in the body of a scan, and XLA's.

  python -m benchmarks.convolution

On the CPU the gradients that XLA makes are 20 to 90 times slower in a loop than
outside. Ours must not be slower there than 1.3 times the step alone. `xla` is
XLA's own outside of any loop: what ours may not fall behind.
"""

import argparse
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import _record
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


def native(x, kernel, *, strides, padding, groups):
  return jax.lax.conv_general_dilated(
    x,
    kernel,
    (strides, strides),
    [(padding, padding)] * 2,
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    feature_group_count=groups,
  )


def step(conv, settings, carry):
  """Moves image and kernel by their gradients, so that none can be left out."""

  def loss(x, kernel):
    return jnp.square(conv(x, kernel, **settings)).mean()

  gradients = jax.grad(loss, (0, 1))(*carry)
  return jax.tree.map(lambda a, g: a - 1e-3 * g, carry, gradients)


def measure(case: tuple[int, ...], repeats: int) -> dict[str, Any]:
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
  alone = jax.jit(functools.partial(step, conv2d, settings))
  xla = jax.jit(functools.partial(step, native, settings))
  body = functools.partial(step, conv2d, settings)

  @jax.jit
  def scan(carry):
    return jax.lax.scan(lambda c, _: (body(c), None), carry, length=_STEPS)[0]

  def separately(step):
    carry = (x, kernel)
    for _ in range(_STEPS):
      carry = step(carry)
    jax.block_until_ready(carry)

  seconds = _record.side_by_side(
    {
      'alone': lambda: separately(alone),
      'in_scan': lambda: jax.block_until_ready(scan((x, kernel))),
      'xla': lambda: separately(xla),
    },
    repeats=repeats,
  )
  ratio = seconds['in_scan']['median'] / seconds['alone']['median']
  return {
    'case': f'{batch}x{size}x{size}, {channels}->{outputs}, '
    f'{kernel_size}x{kernel_size}, stride {strides}, groups {groups}',
    'seconds_for_steps': _STEPS,
    'scan_to_alone': float(f'{ratio:.3g}'),
    **seconds,
  }


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--repeats', type=int, default=7)
  repeats = parser.parse_args().repeats
  rows = [measure(case, repeats) for case in _CASES]
  _record.record('convolution', rows)


if __name__ == '__main__':
  main()
