"""Which array of a file is which of a network, and what is left over."""

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.convert import names, torch_layout

PyTree = Any
Arrays = Mapping[str, np.ndarray]
Shape = tuple[int, ...]

# What PyTorch state dicts hold besides weights: counters of batch norm, and
# what a profiler leaves behind.
_IGNORED = re.compile(r'(.*\.)?(num_batches_tracked|total_ops|total_params)')
# What wraps a network puts before every name.
_PREFIXES = ('module.', '_orig_mod.')
_CLASSIFIER = tuple(map(jax.tree_util.DictKey, ('params', 'head')))
_SHOWN = 12  # lines of each kind in a table


@dataclasses.dataclass(frozen=True)
class Naming:
  """How a file may call and lay out a network's variables.

  Attributes:
    name: Of the naming, for messages.
    shapes: What the file should hold.
    to_arrays: Variables as they would be in the file.
    to_variables: The way back, of arrays that are all there.
  """

  name: str
  shapes: dict[str, Shape]
  to_arrays: Callable[[PyTree], dict[str, np.ndarray]]
  to_variables: Callable[[Arrays], PyTree]


@dataclasses.dataclass(frozen=True)
class Differences:
  """What of a file and of a network does not match.

  Attributes:
    missing: What the network has and the file has not.
    unexpected: What the file has and the network has not.
    shapes: What both have, but of different shapes: the file's, the network's.
  """

  missing: dict[str, Shape]
  unexpected: dict[str, Shape]
  shapes: dict[str, tuple[Shape, Shape]]

  def __bool__(self) -> bool:
    return bool(self.missing or self.unexpected or self.shapes)

  def without(self, names: set[str]) -> 'Differences':
    """Those of other arrays than the given ones."""
    return Differences(
      *(
        {name: shape for name, shape in kind.items() if name not in names}
        for kind in (self.missing, self.unexpected, self.shapes)
      )
    )

  def __str__(self) -> str:
    """A table with one line for each, the first dozen of a kind."""
    kinds = {
      'missing': {n: f'{n} {s}' for n, s in self.missing.items()},
      'unexpected': {n: f'{n} {s}' for n, s in self.unexpected.items()},
      'shape': {
        n: f'{n}: stored {stored}, expected {wanted}'
        for n, (stored, wanted) in self.shapes.items()
      },
    }
    return '\n'.join(
      line for kind, found in kinds.items() for line in _lines(kind, found)
    )


def _lines(kind: str, found: dict[str, str]) -> Iterator[str]:
  for line in list(found.values())[:_SHOWN]:
    yield f'  {kind:<11} {line}'
  if len(found) > _SHOWN:
    yield f'  {kind:<11} and {len(found) - _SHOWN} more'


def weights_of(arrays: Arrays) -> dict[str, np.ndarray]:
  """The arrays that are weights, without what wraps a network before names."""
  kept = {n: a for n, a in arrays.items() if not _IGNORED.fullmatch(n)}
  while True:
    for prefix in _PREFIXES:
      if kept and all(name.startswith(prefix) for name in kept):
        kept = {name.removeprefix(prefix): a for name, a in kept.items()}
        break
    else:
      return kept


def naming_of(arrays: Arrays, template: PyTree, network: str | None) -> Naming:
  """The naming that knows most of the names of a file.

  Args:
    arrays: The file's.
    template: Variables of the network, arrays or shapes.
    network: Its name, if it is one of `kdjax.models.NETWORKS`: only for those
      are PyTorch's names known.
  """
  candidates = [flax_naming(template, sep=sep) for sep in '/.']
  if network is not None:
    with contextlib.suppress(ValueError):  # a network of the user's own
      candidates = [
        *(torch_naming(template, r) for r in names.all_rules_of(network)),
        *candidates,
      ]
  return max(candidates, key=lambda naming: len(naming.shapes.keys() & arrays))


def flax_naming(template: PyTree, *, sep: str) -> Naming:
  """Names made of the paths in the tree, the collection first."""

  def to_variables(arrays):
    leaves = [jnp.asarray(arrays[n], leaf.dtype) for n, leaf in flat.items()]
    return jax.tree.unflatten(jax.tree.structure(template), leaves)

  flat = _flat(template, sep)
  return Naming(
    name='flax',
    shapes={name: tuple(leaf.shape) for name, leaf in flat.items()},
    to_arrays=lambda variables: {
      name: np.asarray(leaf) for name, leaf in _flat(variables, sep).items()
    },
    to_variables=to_variables,
  )


def torch_naming(template: PyTree, rules: names.Rules) -> Naming:
  """The names and layouts that PyTorch code has for a network.

  Raises:
    ValueError: If the rules do not know one of its layers.
  """
  empty = jax.tree.map(lambda x: np.broadcast_to(0.0, x.shape), template)
  expected = torch_layout.to_torch(empty, rules)
  return Naming(
    name='torch',
    shapes={name: array.shape for name, array in expected.items()},
    to_arrays=lambda variables: torch_layout.to_torch(variables, rules),
    to_variables=lambda arrays: torch_layout.from_torch(
      arrays, template, rules
    ),
  )


def classifier_names(naming: Naming, template: PyTree) -> set[str]:
  """What a naming calls the arrays of the classifier, `params/head`."""
  marked = jax.tree_util.tree_map_with_path(
    lambda path, x: np.full(x.shape, path[:2] == _CLASSIFIER, np.float32),
    template,
  )
  arrays = naming.to_arrays(marked)
  return {name for name, array in arrays.items() if np.any(array)}


def compare(arrays: Arrays, wanted: Mapping[str, Shape]) -> Differences:
  """What does not match between a file's arrays and what is expected."""
  return Differences(
    missing={n: s for n, s in wanted.items() if n not in arrays},
    unexpected={n: a.shape for n, a in arrays.items() if n not in wanted},
    shapes={
      name: (arrays[name].shape, shape)
      for name, shape in wanted.items()
      if name in arrays and arrays[name].shape != shape
    },
  )


def check_numbers(arrays: Arrays) -> None:
  """That all are finite floating-point numbers.

  Raises:
    ValueError: If not; names those that are not.
  """
  wrong = []
  for name, array in arrays.items():
    if not jnp.issubdtype(array.dtype, jnp.floating):
      wrong.append(f'{name} is {array.dtype}, not floating-point')
    else:
      with np.errstate(over='ignore'):  # what float32 cannot hold is infinite
        count = int((~np.isfinite(array.astype(np.float32))).sum())
      if count:
        wrong.append(f'{name} has {count} of {array.size} not finite')
  if wrong:
    more = f'; and {len(wrong) - _SHOWN} more' if len(wrong) > _SHOWN else ''
    raise ValueError('; '.join(wrong[:_SHOWN]) + more)


def _flat(tree: PyTree, sep: str) -> dict[str, Any]:
  leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
  return {
    jax.tree_util.keystr(path, simple=True, separator=sep): leaf
    for path, leaf in leaves
  }
