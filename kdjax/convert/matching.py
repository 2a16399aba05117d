"""Matches the arrays of a file with those of a network."""

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.convert.torch import layout as torch_layout
from kdjax.convert.torch import names
from kdjax.messages import printable
from kdjax.runtime.named_arrays import Shape, leaves_by_name, shapes
from kdjax.typing import PyTree

Arrays = Mapping[str, np.ndarray]

# Entries of PyTorch state dicts besides weights: counters of batch norm and of
# weight averaging, and counts of a profiler.
_IGNORED = re.compile(
  r'(.*\.)?(num_batches_tracked|n_averaged|total_ops|total_params)'
)
_CLASSIFIER = tuple(map(jax.tree_util.DictKey, ('params', 'head')))
_MAX_PREFIXES = 3  # nested wrappers such as `module.module.`
_MAX_LISTED = 12  # unusable arrays in a message


@dataclasses.dataclass(frozen=True)
class Naming:
  """Names and layouts of a network's arrays in a file.

  Attributes:
    shapes: Expected shapes by name.
    to_arrays: `variables -> arrays` as they are in the file.
    to_variables: `arrays -> variables`, the inverse; the arrays must be
      complete.
  """

  shapes: dict[str, Shape]
  to_arrays: Callable[[PyTree], dict[str, np.ndarray]]
  to_variables: Callable[[Arrays], PyTree]


def find_naming(
  arrays: Arrays, template: PyTree, network: str | None
) -> tuple[dict[str, np.ndarray], Naming]:
  """Finds the naming that knows most names of a file.

  Args:
    arrays: Contents of the file.
    template: Variables of the network, arrays or shapes.
    network: Name in `kdjax.models.NETWORKS`, for which PyTorch names are known
      (`None`: only Flax names are).

  Returns:
    The arrays without counters, and without a common prefix of all names such
    as `module.` where more names are known without it; and the naming.
  """
  namings = _namings(template, network)
  return max(
    ((weights, naming) for weights in _unwrapped(arrays) for naming in namings),
    key=lambda pair: len(pair[1].shapes.keys() & pair[0]),
  )


def _unwrapped(arrays: Arrays) -> Iterator[dict[str, np.ndarray]]:
  """Yields the weights with their names, then without common prefixes."""
  weights = {n: a for n, a in arrays.items() if not _IGNORED.fullmatch(n)}
  yield weights
  for _ in range(_MAX_PREFIXES):
    if len({name.partition('.')[:2] for name in weights}) != 1:
      return
    weights = {name.partition('.')[2]: a for name, a in weights.items()}
    yield weights


def _namings(template: PyTree, network: str | None) -> list[Naming]:
  flax_namings = [flax_naming(template, sep=sep) for sep in '/.']
  if network is None:
    return flax_namings
  with contextlib.suppress(ValueError):  # a network of the user's own
    return [
      *(torch_naming(template, r) for r in names.all_rules_of(network)),
      *flax_namings,
    ]
  return flax_namings


def flax_naming(template: PyTree, *, sep: str) -> Naming:
  """Returns the naming by paths in the tree, the collection first.

  Args:
    template: Variables of the network, arrays or shapes.
    sep: Separator of the keys of a path.
  """

  def to_variables(arrays):
    leaves = [jnp.asarray(arrays[n], leaf.dtype) for n, leaf in flat.items()]
    return jax.tree.unflatten(jax.tree.structure(template), leaves)

  flat = leaves_by_name(template, sep)
  return Naming(
    shapes=shapes(flat),
    to_arrays=lambda variables: {
      name: np.asarray(leaf)
      for name, leaf in leaves_by_name(variables, sep).items()
    },
    to_variables=to_variables,
  )


def torch_naming(template: PyTree, rules: names.Rules) -> Naming:
  """Returns the naming of PyTorch code.

  Args:
    template: Variables of the network, arrays or shapes.
    rules: Names of the network's family; see `kdjax.convert.torch.names`.

  Raises:
    ValueError: If the rules lack one of its layers.
  """
  return Naming(
    shapes=torch_layout.torch_shapes(template, rules),
    to_arrays=lambda variables: torch_layout.to_torch(variables, rules),
    to_variables=lambda arrays: torch_layout.from_torch(
      arrays, template, rules
    ),
  )


def classifier_names(naming: Naming, template: PyTree) -> set[str]:
  """Returns the names of the classifier's arrays, `params/head` in Flax.

  Args:
    naming: Naming of the file.
    template: Variables of the network, arrays or shapes.
  """
  marked = jax.tree_util.tree_map_with_path(
    lambda path, x: np.full(x.shape, path[:2] == _CLASSIFIER, np.float32),
    template,
  )
  arrays = naming.to_arrays(marked)
  return {name for name, array in arrays.items() if np.any(array)}


def check_finite(arrays: Arrays) -> None:
  """Checks that all arrays are floating-point and finite.

  Args:
    arrays: Arrays by name.

  Raises:
    ValueError: If one is not; names the first ones.
  """
  problems = []
  for name, array in arrays.items():
    if not jnp.issubdtype(array.dtype, jnp.floating):
      problems.append(f'{printable(name)} is {array.dtype}, not floating-point')
    elif count := _not_finite(array):
      problems.append(
        f'{printable(name)} has {count} of {array.size} values not finite'
      )
  if problems:
    more = len(problems) - _MAX_LISTED
    rest = f'; and {more} more' if more > 0 else ''
    raise ValueError('; '.join(problems[:_MAX_LISTED]) + rest)


def _not_finite(array: np.ndarray) -> int:
  """Counts the values that are not finite in float32."""
  with np.errstate(over='ignore'):  # too large values become infinite
    return int((~np.isfinite(array.astype(np.float32))).sum())
