"""Flax variables to arrays under PyTorch names, and back.

Kernels are `[kh, kw, in, out]` here and `[out, in, kh, kw]` there; matrices are
`[in, out]` and `[out, in]`. Nothing else changes, so a round trip is exact.
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
  """The PyTorch name of every leaf, in the order of PyTorch's state dict.

  Args:
    variables: `{'params': …, 'batch_stats': …}`, of arrays or of shapes.
    rules: Of the network's family; see `kdjax.convert.torch.names`.

  Returns:
    For each path, the collection first, its name.

  Raises:
    ValueError: If no rule knows a layer.
  """
  leaves = _leaves(variables)
  found = [(*_find(path, rules), path) for path in leaves]
  found.sort(key=lambda entry: (entry[0], entry[2][-1] in ('mean', 'var')))
  return {path: name for _, name, path in found}


def to_torch(variables: PyTree, rules: Rules) -> dict[str, np.ndarray]:
  """Arrays under their PyTorch names and in PyTorch's layout."""
  leaves = _leaves(variables)
  return {
    name: _swap(np.asarray(leaves[path]), to_torch=True)
    for path, name in torch_names(variables, rules).items()
  }


def from_torch(
  arrays: Mapping[str, np.ndarray], template: PyTree, rules: Rules
) -> PyTree:
  """Variables from arrays under PyTorch names.

  Args:
    arrays: By name, in PyTorch's layout.
    template: Variables of the network, of arrays or of shapes.
    rules: Of the network's family.

  Raises:
    ValueError: If an array is missing, unexpected or of another shape; says
      which.
  """
  names = torch_names(template, rules)
  shapes = _leaves(template)
  wrong = [f'missing {name}' for name in names.values() if name not in arrays]
  wrong += [f'unexpected {n}' for n in arrays if n not in set(names.values())]
  leaves = {}
  for path, name in names.items():
    if name not in arrays:
      continue
    leaf = _swap(np.asarray(arrays[name]), to_torch=False)
    if leaf.shape != shapes[path].shape:
      wrong.append(f'{name} is {leaf.shape}, not {shapes[path].shape}')
    leaves[path] = jnp.asarray(leaf, shapes[path].dtype)
  if wrong:
    raise ValueError('Weights do not fit the network: ' + '; '.join(wrong))
  # An empty collection has no leaves to bring it back.
  return {
    **{collection: {} for collection in template},
    **traverse_util.unflatten_dict(leaves),
  }


def _leaves(tree: PyTree) -> dict[Path, Any]:
  return traverse_util.flatten_dict(tree)  # pyright: ignore[reportReturnType]


def _swap(array: np.ndarray, *, to_torch: bool) -> np.ndarray:
  """Between the two layouts of kernels and matrices."""
  if array.ndim == 4:
    return array.transpose((3, 2, 0, 1) if to_torch else (2, 3, 1, 0))
  return array.T if array.ndim == 2 else array


def _find(path: Path, rules: Rules) -> tuple[tuple, str]:
  """The place of a leaf in PyTorch's order, and its name."""
  # Parameters that are no layer's, like a class token, have rules themselves.
  leaf = path[-1]
  layer = '/'.join(path[1:-1] if leaf in _LEAVES else path[1:])
  for place, (group, pattern, name) in enumerate(_grouped(rules)):
    match = re.fullmatch(_NUMBER.sub(r'(?P<\1>\\d+)', pattern), layer)
    if not match:
      continue
    numbers = {key: int(value) for key, value in match.groupdict().items()}
    filled = _NUMBER.sub(functools.partial(_fill, numbers), name)
    key = (group, tuple(numbers.values()), place)
    if leaf not in _LEAVES:
      return (*key, 0), filled
    joined = filled if filled.endswith('_') else f'{filled}.'
    return (*key, list(_LEAVES).index(leaf)), f'{joined}{_LEAVES[leaf]}'
  raise ValueError(f'No rule gives the PyTorch name of {"/".join(path)}.')


def _grouped(rules: Rules) -> list[tuple[int, str, str]]:
  """Each rule with the number of its loop."""
  loops = itertools.groupby(
    rules, key=lambda rule: [m[1] for m in _NUMBER.finditer(rule[0])]
  )
  return [
    (number, *rule) for number, (_, loop) in enumerate(loops) for rule in loop
  ]


def _fill(numbers: dict[str, int], found: re.Match) -> str:
  """One `{name*factor+shift}` as a number."""
  name, factor, shift = found.groups()
  return str(numbers[name] * int(factor or 1) + int(shift or 0))
