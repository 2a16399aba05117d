"""Hashes of stored arrays, by which damage is found when they are read.

Orbax stores arrays without checksums: a flipped bit would give another weight.
The hashes are written by orbax beside the arrays, as the last of a folder.
"""

import hashlib
import json
from collections.abc import Mapping

import numpy as np
from etils import epath

from kdjax.messages import first_line, printable
from kdjax.runtime.named_arrays import leaves_by_name
from kdjax.typing import PyTree

# Orbax's file with the metadata of the user, and its key there.
_METADATA, _CUSTOM = '_CHECKPOINT_METADATA', 'custom_metadata'
_NAME = 'sha256'
_ITEM = 'default'  # orbax's folder of the tree in a checkpoint of a step


class DamagedError(ValueError):
  """Stored arrays are not those that were saved."""


def metadata(tree: PyTree) -> dict[str, dict[str, str]]:
  """Returns the metadata saved with a tree: the SHA-256 hash of every array.

  Args:
    tree: Arrays on the host.
  """
  arrays = leaves_by_name(tree)
  return {_NAME: {name: _hash(array) for name, array in arrays.items()}}


def stored_hashes(folder: epath.PathLike) -> dict[str, str] | None:
  """Returns the hashes that were saved beside the arrays of an orbax folder.

  Args:
    folder: Folder of the arrays.

  Returns:
    Hexadecimal hashes by name; `None` if it was saved without any.

  Raises:
    DamagedError: If they cannot be read.
  """
  folder = epath.Path(folder)
  path = (folder.parent if folder.name == _ITEM else folder) / _METADATA
  if not path.exists():
    return None
  try:
    saved = json.loads(path.read_bytes())[_CUSTOM]
  except (ValueError, KeyError, TypeError, RecursionError) as error:
    raise DamagedError(f'{path} is damaged: {first_line(error)}') from None
  if not saved:
    return None
  hashes = saved.get(_NAME) if isinstance(saved, dict) else None
  if not isinstance(hashes, dict):
    raise DamagedError(f'{path} is damaged: it has no {_NAME}')
  return hashes


def check(tree: PyTree, hashes: Mapping[str, str]) -> None:
  """Checks that arrays are those that were saved.

  Args:
    tree: Arrays on the host, in the dtypes in which they were saved.
    hashes: Result of `stored_hashes`.

  Raises:
    DamagedError: If an array has another hash; names the first.
  """
  arrays = leaves_by_name(tree)
  for name in dict.fromkeys([*hashes, *arrays]):
    if name not in arrays or _hash(arrays[name]) != hashes.get(name):
      raise DamagedError(
        f'{printable(name)} is damaged: it is not the array that was saved'
      )


def _hash(array: np.ndarray) -> str:
  """Returns the hash of an array's dtype, shape and bytes."""
  array = np.ascontiguousarray(array)
  result = hashlib.sha256(f'{array.dtype.name} {array.shape}'.encode())
  result.update(array.reshape(-1).view(np.uint8).data)
  return result.hexdigest()
