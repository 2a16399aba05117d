"""Forward passes, compared with the same networks in eager PyTorch.

  python -m benchmarks.forward

Writes `benchmarks/results/forward.json`: seconds of a batch of 64 in evaluation
mode, where both take turns, and their ratio; the fraction of our time that is
spent in convolutions, run alone one after the other; and the fraction of each
stage, as the difference between passes that start before and after it (so a
cheap stem may be slightly negative).
"""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks import flag_types, timing, torch_networks
from kdjax import models
from kdjax.network import Network
from kdjax.train.run import count_parameters
from kdjax.typing import PyTree

BATCH = 64
NETWORKS = ('resnet56', 'wrn_40_2', 'vgg13', 'ShuffleV2')


def measure(name: str, repeats: int) -> dict[str, Any]:
  """Returns the row of a network."""
  network = models.create(name, num_classes=100)
  variables = network.initialize(jax.random.key(0), (32, 32, 3))
  images = jax.random.normal(jax.random.key(1), (BATCH, 32, 32, 3))
  module = torch_networks.NETWORKS[name]().eval()
  tensor = torch.from_numpy(np.array(images).transpose(0, 3, 1, 2))
  ours = count_parameters(variables['params'])
  theirs = sum(parameter.numel() for parameter in module.parameters())
  if ours != theirs:
    raise ValueError(f'{name} has {ours} parameters, in PyTorch {theirs}.')

  def run_torch() -> None:
    with torch.no_grad():
      module(tensor)

  logits = functools.partial(_logits, network)
  seconds = timing.take_turns(
    {
      'kdjax': timing.compiled(logits, variables, images),
      'torch': run_torch,
    },
    repeats=repeats,
  )
  return {
    'network': name,
    'batch_size': BATCH,
    'seconds': seconds,
    'kdjax_over_torch': timing.ratio(seconds, 'kdjax', 'torch'),
    'share_of_convolutions': _convolutions(network, variables, images, repeats),
    'share_of_stages': _stages(network, variables, images, repeats),
  }


def _logits(
  network: Network, variables: PyTree, images: jax.Array
) -> jax.Array:
  return network.apply(variables, images, train=False)[0].logits


def _convolutions(
  network: Network, variables: PyTree, images: jax.Array, repeats: int
) -> float:
  """Returns the fraction of the convolutions, run on inputs of ones."""
  logits = functools.partial(_logits, network)
  jaxpr = jax.make_jaxpr(logits)(variables, images).jaxpr
  equations = list(_convolution_equations(jaxpr))
  inputs = [
    [jnp.ones(variable.aval.shape) for variable in equation.invars]
    for equation in equations
  ]

  def convolutions_alone(inputs: list[list[jax.Array]]) -> jax.Array:
    total = jnp.zeros(())
    for equation, pair in zip(equations, inputs):
      # One after the other, as in the network.
      pair, total = jax.lax.optimization_barrier((pair, total))
      total += equation.primitive.bind(*pair, **equation.params)[0, 0, 0, 0]
    return total

  seconds = timing.take_turns(
    {
      'whole': timing.compiled(logits, variables, images),
      'alone': timing.compiled(convolutions_alone, inputs),
    },
    repeats=repeats,
  )
  return timing.ratio(seconds, 'alone', 'whole')


def _convolution_equations(jaxpr: Any) -> Iterator[Any]:
  """Yields every convolution of a program and of its inner programs."""
  for equation in jaxpr.eqns:
    if equation.primitive.name == 'conv_general_dilated':
      yield equation
    for value in equation.params.values():
      if hasattr(value, 'jaxpr'):  # an inner program
        yield from _convolution_equations(value.jaxpr)


def _stages(
  network: Network, variables: PyTree, images: jax.Array, repeats: int
) -> list[float]:
  """Returns the fraction of each stage, from passes that start after it."""
  features = network.apply(variables, images, train=False)[0]
  logits = functools.partial(_logits, network)
  calls = {'0': timing.compiled(logits, variables, images)}
  for start, hidden in enumerate(features.boundaries, 1):

    def tail(
      variables: PyTree, hidden: jax.Array, start: int = start
    ) -> jax.Array:
      return network.tail(variables, hidden, start, train=False)[0].logits

    calls[str(start)] = timing.compiled(tail, variables, hidden)
  seconds = timing.take_turns(calls, repeats=repeats)
  medians = [times['median'] for times in seconds.values()]
  parts = -np.diff([*medians, 0.0])
  return [round(float(part / medians[0]), 3) for part in parts]


def main() -> None:
  """Measures every network."""
  parser = flag_types.make_parser(__doc__, repeats=7)
  parser.add_argument('--networks', type=flag_types.names, default=NETWORKS)
  flags = parser.parse_args()
  rows = [measure(name, flags.repeats) for name in flags.networks]
  timing.record(flags.output / 'forward.json', rows)


if __name__ == '__main__':
  main()
