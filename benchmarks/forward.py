"""Forward passes against the same networks in eager PyTorch.

  python -m benchmarks.forward

Writes `benchmarks/results/forward.json`: seconds of a batch of 64 in evaluation
mode, both sides in turns, and their ratio. Where our time goes: the share of
its convolutions, run by themselves one after the other, and that of each stage,
as the difference between entering before it and behind it (so a stem may come
out a hundredth below nothing).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks import _record, torch_networks
from kdjax import models

BATCH = 64
NETWORKS = ('resnet56', 'wrn_40_2', 'vgg13', 'ShuffleV2')


def measure(name: str, repeats: int = 7) -> dict:
  """One network: both sides, and where our time goes."""
  network = models.create(name, num_classes=100)
  variables = network.initialize(jax.random.key(0), (32, 32, 3))
  images = jax.random.normal(jax.random.key(1), (BATCH, 32, 32, 3))
  whole = jax.jit(functools.partial(network.apply, train=False))
  module = torch_networks.NETWORKS[name]().eval()
  theirs = torch.from_numpy(np.array(images).transpose(0, 3, 1, 2))
  same = sum(p.numel() for p in module.parameters()) == sum(
    leaf.size for leaf in jax.tree.leaves(variables['params'])
  )
  if not same:
    raise ValueError(f'{name} has other parameters in PyTorch.')

  def run_torch():
    with torch.no_grad():
      module(theirs)

  seconds = _record.side_by_side(
    {
      'kdjax': lambda: jax.block_until_ready(
        whole(variables, images)[0].logits
      ),
      'torch': run_torch,
    },
    repeats=repeats,
  )
  return {
    'network': name,
    'batch_size': BATCH,
    'seconds': seconds,
    'kdjax_over_torch': round(
      seconds['kdjax']['median'] / seconds['torch']['median'], 3
    ),
    'share_of_convolutions': _convolutions(network, variables, images, repeats),
    'share_of_stages': _shares(network, variables, images, repeats),
  }


def _convolutions(network, variables, images, repeats) -> float:
  """The share of the convolutions, on inputs of the same shapes."""
  forward = functools.partial(network.apply, train=False)
  found = list(_of_kind(jax.make_jaxpr(forward)(variables, images).jaxpr))
  inputs = [
    [jnp.ones(variable.aval.shape) for variable in equation.invars]
    for equation in found
  ]

  def alone(inputs):
    total = 0.0
    for equation, pair in zip(found, inputs):
      # One behind the other, as in the network.
      pair, total = jax.lax.optimization_barrier((pair, total))
      total += equation.primitive.bind(*pair, **equation.params)[0, 0, 0, 0]
    return total

  seconds = _record.side_by_side(
    {
      'whole': _call(lambda *a: forward(*a)[0].logits, variables, images),
      'alone': _call(alone, inputs),
    },
    repeats=repeats,
  )
  share = seconds['alone']['median'] / seconds['whole']['median']
  return round(share, 3)


def _of_kind(jaxpr):
  """Every convolution of a program, those of its inner programs too."""
  for equation in jaxpr.eqns:
    if equation.primitive.name == 'conv_general_dilated':
      yield equation
    for value in equation.params.values():
      if hasattr(value, 'jaxpr'):  # a closed program
        yield from _of_kind(value.jaxpr)


def _shares(network, variables, images, repeats) -> list[float]:
  """The share of each stage, as the difference of what begins before it."""
  features = network.apply(variables, images, train=False)[0]

  def whole(variables, images):
    return network.apply(variables, images, train=False)[0].logits

  calls = {'0': _call(whole, variables, images)}
  for start, hidden in enumerate(features.boundaries, 1):

    def tail(variables, hidden, start=start):
      return network.tail(variables, hidden, start, train=False)[0].logits

    calls[str(start)] = _call(tail, variables, hidden)
  seconds = _record.side_by_side(calls, repeats=repeats)
  medians = [seconds[name]['median'] for name in calls]
  parts = -np.diff([*medians, 0.0])
  return [round(float(part / medians[0]), 3) for part in parts]


def _call(function, *arguments):
  """The compiled function on its arguments, waited for."""
  compiled = jax.jit(function)
  return lambda: jax.block_until_ready(compiled(*arguments))


def main() -> None:
  """Measures every network."""
  _record.record('forward', [measure(name) for name in NETWORKS])


if __name__ == '__main__':
  main()
