"""Which array of a file is which of a network, and what is left over."""

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.convert.messages import shown
from kdjax.convert.torch import layout as torch_layout
from kdjax.convert.torch import names
from kdjax.typing import PyTree

Arrays = Mapping[str, np.ndarray]
Shape = tuple[int, ...]
T = TypeVar('T')

# What PyTorch state dicts hold besides weights: counters of batch norm and of
# running averages of weights, and what a profiler leaves behind.
_IGNORED = re.compile(
  r'(.*\.)?(num_batches_tracked|n_averaged|total_ops|total_params)'
)
_CLASSIFIER = tuple(map(jax.tree_util.DictKey, ('params', 'head')))
_WRAPPERS = 3  # around one another, at most
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
      missing=_without(self.missing, names),
      unexpected=_without(self.unexpected, names),
      shapes=_without(self.shapes, names),
    )

  def __str__(self) -> str:
    """A table with one line for each, the first dozen of a kind."""
    kinds = {
      'missing': [f'{shown(n)} {s}' for n, s in self.missing.items()],
      'unexpected': [f'{shown(n)} {s}' for n, s in self.unexpected.items()],
      'shape': [
        f'{shown(n)}: stored {stored}, expected {wanted}'
        for n, (stored, wanted) in self.shapes.items()
      ],
    }
    return '\n'.join(
      line for kind, found in kinds.items() for line in _lines(kind, found)
    )


def _without(found: dict[str, T], names: set[str]) -> dict[str, T]:
  return {name: value for name, value in found.items() if name not in names}


def _lines(kind: str, found: list[str]) -> Iterator[str]:
  for line in found[:_SHOWN]:
    yield f'  {kind:<11} {line}'
  if len(found) > _SHOWN:
    yield f'  {kind:<11} and {len(found) - _SHOWN} more'


def fit(
  arrays: Arrays, template: PyTree, network: str | None
) -> tuple[dict[str, np.ndarray], Naming]:
  """The weights of a file, and the naming that knows most of their names.

  Counters are left out. What stands before every name, as `module.` does, is
  taken off where more names are known without.

  Args:
    arrays: The file's.
    template: Variables of the network, arrays or shapes.
    network: Its name, if it is one of `kdjax.models.NETWORKS`: only for those
      are PyTorch's names known.
  """
  namings = _namings(template, network)
  return max(
    ((weights, naming) for weights in _unwrapped(arrays) for naming in namings),
    key=lambda pair: len(pair[1].shapes.keys() & pair[0]),
  )


def _unwrapped(arrays: Arrays) -> Iterator[dict[str, np.ndarray]]:
  """The weights under their names, then without what all begin with."""
  kept = {n: a for n, a in arrays.items() if not _IGNORED.fullmatch(n)}
  yield kept
  for _ in range(_WRAPPERS):
    if len({name.partition('.')[:2] for name in kept}) != 1:
      return
    kept = {name.partition('.')[2]: a for name, a in kept.items()}
    yield kept


def _namings(template: PyTree, network: str | None) -> list[Naming]:
  candidates = [flax_naming(template, sep=sep) for sep in '/.']
  if network is None:
    return candidates
  with contextlib.suppress(ValueError):  # a network of the user's own
    return [
      *(torch_naming(template, r) for r in names.all_rules_of(network)),
      *candidates,
    ]
  return candidates


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
      wrong.append(f'{shown(name)} is {array.dtype}, not floating-point')
    else:
      with np.errstate(over='ignore'):  # what float32 cannot hold is infinite
        count = int((~np.isfinite(array.astype(np.float32))).sum())
      if count:
        wrong.append(f'{shown(name)} has {count} of {array.size} not finite')
  if wrong:
    more = f'; and {len(wrong) - _SHOWN} more' if len(wrong) > _SHOWN else ''
    raise ValueError('; '.join(wrong[:_SHOWN]) + more)


def _flat(tree: PyTree, sep: str) -> dict[str, Any]:
  leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
  return {
    jax.tree_util.keystr(path, simple=True, separator=sep): leaf
    for path, leaf in leaves
  }
