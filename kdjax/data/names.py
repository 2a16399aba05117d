"""Names of datasets: a known name, or `KIND:PATH` for files of a user."""

import pathlib
from collections.abc import Collection

from kdjax.paths import local_path


def parse_name(
  name: str, kinds: Collection[str]
) -> tuple[str, pathlib.Path | None]:
  """Splits a dataset name such as `folder:PATH`.

  Args:
    name: Name of a dataset.
    kinds: The kinds that take a path, such as `folder`.

  Returns:
    The kind and the path, with `~` expanded, if `name` is `KIND:PATH`;
    otherwise `name` and None.

  Raises:
    ValueError: If the path cannot be one on this machine.
  """
  kind, _, path = name.partition(':')
  if path and kind in kinds:
    return kind, local_path(path)
  return name, None
