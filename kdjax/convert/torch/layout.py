"""Conversion between Flax variables and arrays under PyTorch names.

Kernels are `[kh, kw, in, out]` in Flax and `[out, in, kh, kw]` in PyTorch,
matrices `[in, out]` and `[out, in]`. No value changes, so a round trip is
exact.
"""

import functools
import itertools
import re
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from kdjax.convert.torch.names import Rules
from kdjax.runtime.named_arrays import Shape, compare, shapes
from kdjax.typing import PyTree

Path = tuple[str, ...]

_LEAVES = {
  'kernel': 'weight',
  'scale': 'weight',
  'bias': 'bias',
  'mean': 'running_mean',
  'var': 'running_var',
}
_NUMBER = re.compile(r'\{(\w+?)(?:\*(\d+))?([+-]\d+)?\}')


def torch_names(variables: PyTree, rules: Rules) -> dict[Path, str]:
  """Returns the PyTorch name of every leaf, in the order of a state dict.

  Args:
    variables: `{'params': …, 'batch_stats': …}`, of arrays or shapes.
    rules: Names of the network's family; see `kdjax.convert.torch.names`.

  Returns:
    Names by path, the collection first.

  Raises:
    ValueError: If no rule matches a layer.
  """
  entries = [(*_name(path, rules), path) for path in _leaves(variables)]
  entries.sort(key=lambda entry: (entry[0], entry[2][-1] in ('mean', 'var')))
  return {path: name for _, name, path in entries}


def torch_shapes(variables: PyTree, rules: Rules) -> dict[str, Shape]:
  """Returns the shapes of the arrays of `to_torch`.

  Args:
    variables: `{'params': …, 'batch_stats': …}`, of arrays or shapes.
    rules: Names of the network's family.
  """
  leaves = _leaves(variables)
  return {
    name: tuple(leaves[path].shape[axis] for axis in _axes(leaves[path], True))
    for path, name in torch_names(variables, rules).items()
  }


def to_torch(variables: PyTree, rules: Rules) -> dict[str, np.ndarray]:
  """Converts variables to arrays under PyTorch names and in its layout.

  Args:
    variables: `{'params': …, 'batch_stats': …}`.
    rules: Names of the network's family.

  Returns:
    Arrays by name, in the order of a state dict.
  """
  leaves = _leaves(variables)
  return {
    name: _swap(np.asarray(leaves[path]), to_torch=True)
    for path, name in torch_names(variables, rules).items()
  }


def from_torch(
  arrays: Mapping[str, np.ndarray], template: PyTree, rules: Rules
) -> PyTree:
  """Converts arrays under PyTorch names to variables.

  Args:
    arrays: Arrays by name, in PyTorch's layout.
    template: Variables of the network, arrays or shapes.
    rules: Names of the network's family.

  Returns:
    Variables with the structure and dtypes of `template`.

  Raises:
    ValueError: If an array is missing, unexpected or of another shape; lists
      them.
  """
  differences = compare(shapes(arrays), torch_shapes(template, rules))
  if differences:
    raise ValueError(f'Weights do not fit the network:\n{differences}')
  template_leaves = _leaves(template)
  leaves = {
    path: jnp.asarray(
      _swap(np.asarray(arrays[name]), to_torch=False),
      template_leaves[path].dtype,
    )
    for path, name in torch_names(template, rules).items()
  }
  # Empty collections have no leaves.
  return {
    **{collection: {} for collection in template},
    **traverse_util.unflatten_dict(leaves),
  }


def _leaves(tree: PyTree) -> dict[Path, Any]:
  return traverse_util.flatten_dict(tree)  # pyright: ignore[reportReturnType]


def _swap(array: np.ndarray, *, to_torch: bool) -> np.ndarray:
  """Converts between the two layouts of kernels and matrices."""
  return array.transpose(_axes(array, to_torch))


def _axes(array: Any, to_torch: bool) -> tuple[int, ...]:
  """Returns the axes of an array in the order of the other layout."""
  if array.ndim == 4:
    return (3, 2, 0, 1) if to_torch else (2, 3, 1, 0)
  return (1, 0) if array.ndim == 2 else tuple(range(array.ndim))


def _name(path: Path, rules: Rules) -> tuple[tuple, str]:
  """Returns the sort key of a leaf in a state dict, and its PyTorch name."""
  # Parameters outside of layers, such as a class token, have their own rules.
  leaf = path[-1]
  layer = '/'.join(path[1:-1] if leaf in _LEAVES else path[1:])
  for index, (loop, pattern, name) in enumerate(_by_loop(rules)):
    match = re.fullmatch(_NUMBER.sub(r'(?P<\1>\\d+)', pattern), layer)
    if not match:
      continue
    numbers = {key: int(value) for key, value in match.groupdict().items()}
    filled = _NUMBER.sub(functools.partial(_fill, numbers), name)
    key = (loop, tuple(numbers.values()), index)
    if leaf not in _LEAVES:
      return (*key, 0), filled
    joined = filled if filled.endswith('_') else f'{filled}.'
    return (*key, list(_LEAVES).index(leaf)), f'{joined}{_LEAVES[leaf]}'
  raise ValueError(f'No rule gives the PyTorch name of {"/".join(path)}.')


def _by_loop(rules: Rules) -> list[tuple[int, str, str]]:
  """Returns each rule with its loop index; see `kdjax.convert.torch.names`."""
  loops = itertools.groupby(
    rules, key=lambda rule: [m[1] for m in _NUMBER.finditer(rule[0])]
  )
  return [
    (index, *rule) for index, (_, loop) in enumerate(loops) for rule in loop
  ]


def _fill(numbers: dict[str, int], placeholder: re.Match) -> str:
  """Returns the number for a placeholder `{name*factor+shift}`."""
  name, factor, shift = placeholder.groups()
  return str(numbers[name] * int(factor or 1) + int(shift or 0))
