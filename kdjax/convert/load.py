"""Weights from a file into the variables of a network."""

import os
import warnings
from collections.abc import Callable

import jax

from kdjax.convert import files, matching
from kdjax.typing import PyTree


def load(
  path: str | os.PathLike[str],
  template: PyTree,
  *,
  network: str | None = None,
  allow_partial: bool = False,
  fresh_classifier: bool = False,
  say: Callable[[str], object] = warnings.warn,
) -> PyTree:
  """Variables of a network from a file or folder of any known format.

  Names may be those of the Flax tree (`params/stage_0/conv/kernel`) or, for
  networks of `kdjax.models.NETWORKS`, those that PyTorch code has for it; the
  layout is changed with them. What wraps a state dict (`{"model": …}`,
  `{"state_dict": …}`, a `module.` before every name) is taken off, and counters
  like `num_batches_tracked` are left out.

  Args:
    path: See `kdjax.convert.read`.
    template: Variables of the network: arrays, or shapes as in
      `network.describe(image_shape).variables`. Numbers take its dtypes.
    network: Its name in `NETWORKS`; without one only Flax names are known.
    allow_partial: Take what matches; the rest stays as in `template`, which
      must then hold arrays.
    fresh_classifier: Let the classifier alone stay as in `template` where the
      file has none, or one of other classes: how a network that was trained on
      one set begins on another.
    say: Called with the table of what did not match, if that is allowed.

  Raises:
    ValueError: If the file cannot be read, if a weight is not a finite number,
      or if anything is missing, unexpected or of another shape and that is not
      allowed; lists what.
  """
  arrays, naming = matching.fit(files.read(path), template, network)
  found = matching.compare(arrays, naming.shapes)
  title = f'{path} does not fit {network or "the network"}:\n{found}'
  refused = found
  if fresh_classifier:
    refused = found.without(matching.classifier_names(naming, template))
  if refused and not allow_partial:
    raise ValueError(f'{title}\nallow_partial would take what matches.')
  fitting = {
    name: arrays[name]
    for name in naming.shapes
    if name in arrays and name not in found.shapes
  }
  if not fitting:
    raise ValueError(f'{title}\nNothing matches.')
  try:
    matching.check_numbers(fitting)
  except ValueError as error:
    raise ValueError(f'{path} holds weights without use: {error}.') from None
  if not found:
    return naming.to_variables(fitting)
  if any(
    isinstance(x, jax.ShapeDtypeStruct) for x in jax.tree.leaves(template)
  ):
    raise ValueError(
      'What the file has not stays as in the template, which must hold arrays; '
      'got shapes.'
    )
  say(title)
  return naming.to_variables({**naming.to_arrays(template), **fitting})
