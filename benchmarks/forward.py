"""Forward passes against the same networks in eager PyTorch.

  python -m benchmarks.forward

Writes `results/benchmarks/forward.json`: seconds of a batch of 64 in evaluation
mode, both sides in turns, their ratio, and how ours divides among the stages
(each stage by itself, so the parts add up to a little more than the whole).
"""

import functools

import jax
import numpy as np
import torch

from benchmarks import _record, torch_networks
from kdjax import models

BATCH = 64


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
    'share_of_stages': _shares(network, variables, images, repeats),
  }


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
  """Measures the four networks."""
  _record.record('forward', [measure(n) for n in torch_networks.NETWORKS])


if __name__ == '__main__':
  main()
