"""Folder of the user for files that later commands reuse."""

import os
import pathlib


def cache_folder() -> pathlib.Path:
  """Returns `$KDJAX_CACHE`, or `~/.cache/kdjax`; it may not exist yet."""
  folder = os.environ.get('KDJAX_CACHE', '~/.cache/kdjax')
  return pathlib.Path(folder).expanduser()
