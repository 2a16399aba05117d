"""Loads weights from a file into the variables of a network."""

import os
import warnings
from collections.abc import Callable

import jax
import numpy as np

from kdjax.convert import files, matching, prefixes
from kdjax.runtime.named_arrays import Differences, compare, shapes
from kdjax.typing import PyTree


def load(
  path: str | os.PathLike[str],
  template: PyTree,
  *,
  network: str | None = None,
  prefix: str | None = None,
  allow_partial: bool = False,
  fresh_classifier: bool = False,
  say: Callable[[str], object] = warnings.warn,
) -> PyTree:
  """Loads the variables of a network from a file or folder of any known format.

  The names may be those of the Flax tree (`params/stage_0/conv/kernel`) or, for
  networks of `kdjax.models.NETWORKS`, those of PyTorch code, whose array layout
  is converted. Wrappers of a state dict (`{"model": …}`, `{"state_dict": …}`, a
  prefix `module.` of every name) are removed, and counters such as
  `num_batches_tracked` are ignored.

  Args:
    path: See `kdjax.convert.read`.
    template: Variables of the network: arrays, or shapes as in
      `network.describe(image_shape).variables`. Its dtypes are those of the
      result.
    network: Name in `NETWORKS` (`None`: only Flax names are known).
    prefix: Beginning of the names of the network's arrays in a file of several
      networks, e.g. `module.student`; what follows it, after a dot, is the name
      in the network (default: all arrays are the network's).
    allow_partial: Whether weights that do not match are taken from `template`,
      which must hold arrays.
    fresh_classifier: Whether the classifier, and only that, is taken from
      `template` where the file has none or one for other classes. This is how a
      network that was trained on one dataset starts on another.
    say: Called with the table of mismatches, if they are allowed.

  Returns:
    Variables with the structure of `template`.

  Raises:
    ValueError: If the file cannot be read, if a weight is not finite, or if
      weights are missing, unexpected or of another shape without being allowed
      to; lists them.

  Examples:
    >>> import pathlib, tempfile
    >>> import jax
    >>> from kdjax import convert, models
    >>> network = models.create('convnet_4_8', num_classes=10)
    >>> variables = network.initialize(jax.random.key(0), (8, 8, 1))
    >>> template = network.describe((8, 8, 1)).variables
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / 'student.safetensors'
    ...   convert.save_safetensors(path, variables)
    ...   loaded = convert.load(path, template)
    >>> equal = jax.tree.map(jax.numpy.array_equal, loaded, variables)
    >>> bool(jax.tree.all(equal))
    True
  """
  stored = _stored(path, prefix)
  arrays, naming = matching.find_naming(stored, template, network)
  differences = compare(shapes(arrays), naming.shapes)
  title = f'{path} does not fit {network or "the network"}:\n{differences}'
  title += _channel_advice(differences)
  refused = differences
  if fresh_classifier:
    refused = differences.without(matching.classifier_names(naming, template))
  matching_arrays = _matching(arrays, naming, differences)
  if (refused and not allow_partial) or not matching_arrays:
    advice = prefixes.advice(stored, template, network)
    if not advice and matching_arrays:
      advice = 'Set allow_partial to load what matches.'
    raise ValueError(f'{title}\n{advice or "Nothing matches."}')
  try:
    matching.check_finite(matching_arrays)
  except ValueError as error:
    raise ValueError(f'{path} has unusable weights: {error}.') from None
  if not differences:
    return naming.to_variables(matching_arrays)
  _check_arrays(template)
  say(title)
  return naming.to_variables({**naming.to_arrays(template), **matching_arrays})


def _stored(
  path: str | os.PathLike[str], prefix: str | None
) -> dict[str, np.ndarray]:
  """Reads the arrays of a file, those of a prefix without it."""
  arrays = files.read(path)
  if prefix is None:
    return arrays
  try:
    return prefixes.select(arrays, prefix)
  except ValueError as error:
    raise ValueError(f'{path} cannot be used: {error}.') from None


def _matching(
  arrays: matching.Arrays, naming: matching.Naming, differences: Differences
) -> matching.Arrays:
  """Selects the arrays that the network has with the same shapes."""
  return {
    name: arrays[name]
    for name in naming.shapes
    if name in arrays and name not in differences.shapes
  }


def _channel_advice(differences: Differences) -> str:
  """Says how to read images if a kernel takes the other number of channels."""
  for stored, expected in differences.shapes.values():
    pairs = [pair for pair in zip(stored, expected) if pair[0] != pair[1]]
    if len(stored) == len(expected) == 4 and pairs in ([(3, 1)], [(1, 3)]):
      ours, others = ('rgb', 'gray') if pairs == [(3, 1)] else ('gray', 'rgb')
      return (
        f'\nIt takes {ours} images, those of the dataset are {others}; give '
        f'--channels={ours} to read them so.'
      )
  return ''


def _check_arrays(template: PyTree) -> None:
  leaves = jax.tree.leaves(template)
  if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves):
    raise ValueError(
      'Weights that the file lacks are taken from the template, which must '
      'hold arrays; got shapes.'
    )
