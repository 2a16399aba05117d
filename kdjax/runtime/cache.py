"""Folder of the user for files that later commands reuse."""

import os
import pathlib

from kdjax.paths import check_storable, local_path


def cache_folder() -> pathlib.Path:
  """Returns `$KDJAX_CACHE`, or `~/.cache/kdjax`; it may not exist yet.

  An empty variable counts as none.

  Raises:
    ValueError: If the variable is not a local path.
  """
  given = os.environ.get('KDJAX_CACHE') or '~/.cache/kdjax'
  try:
    path = local_path(given)
    check_storable(path)
  except ValueError as error:
    raise ValueError(f'KDJAX_CACHE: {error}') from None
  return path
