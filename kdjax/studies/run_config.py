"""The `config.json` of a run, checked for what its network needs."""

import math
from collections.abc import Mapping
from typing import Any

from etils import epath

from kdjax import models
from kdjax.runtime import files

PRECISIONS = ('float32', 'bfloat16')
# Entries without which a network cannot be made.
NEEDED = (
  'network',
  'num_classes',
  'image_shape',
  'mean',
  'std',
  'precision',
)
_MOST_CLASSES = 10**7
_LARGEST_IMAGE = 2**31  # numbers


def read_run_config(run: epath.PathLike) -> dict[str, Any]:
  """Reads the configuration of a run.

  Args:
    run: Folder of the run.

  Returns:
    The content of its `config.json`, with all entries of `NEEDED`.

  Raises:
    ValueError: If it is not the folder of a run, or the file cannot be right;
      names the entries.
  """
  run = epath.Path(run)
  path = run / 'config.json'
  about = files.read_json(path) if path.exists() else {}
  missing = [name for name in NEEDED if name not in about]
  if missing:
    inside = sorted(map(str, run.glob('runs/*/seed*'))) if run.is_dir() else []
    hint = f' It holds the runs {", ".join(inside)}.' if inside else ''
    raise ValueError(
      f'{run} is not the folder of a run: no {", ".join(missing)} in a '
      f'config.json.{hint}'
    )
  if wrong := wrong_entries(about):
    raise ValueError(f'The config.json of {run} cannot be right: {wrong}.')
  try:
    models.check_name(about['network'])
  except ValueError as error:
    raise ValueError(f'The config.json of {run}: {error}') from None
  return about


def wrong_entries(about: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the entries of a configuration that cannot be right.

  Args:
    about: Content of a run's `config.json`; entries may be missing.
  """
  checks = {
    'network': lambda value: isinstance(value, str),
    'arm': lambda value: isinstance(value, str),
    'role': lambda value: isinstance(value, str),
    'seed': lambda value: type(value) is int and value >= 0,
    'num_classes': lambda v: type(v) is int and 0 < v <= _MOST_CLASSES,
    'image_shape': is_image_shape,
    'mean': _is_numbers,
    'std': lambda value: _is_numbers(value) and min(value) > 0,
    'precision': lambda value: value in PRECISIONS,
    'pooling': lambda value: value is None or isinstance(value, str),
    'method': lambda value: value is None or isinstance(value, dict),
    'teacher': lambda value: isinstance(value, str),
  }
  wrong = {
    name: about[name]
    for name, is_right in checks.items()
    if name in about and not is_right(about[name])
  }
  if not wrong and {'image_shape', 'mean', 'std'} <= about.keys():
    channels = about['image_shape'][-1]
    for name in ('mean', 'std'):
      if len(about[name]) != channels:
        wrong[name] = about[name]
  return wrong


def is_image_shape(value: Any) -> bool:
  """Returns whether a JSON value is a height, a width and channels."""
  return (
    isinstance(value, list)
    and len(value) == 3
    and all(type(size) is int and size > 0 for size in value)
    and math.prod(value) < _LARGEST_IMAGE
  )


def _is_numbers(value: Any) -> bool:
  """Returns whether a JSON value is a list of finite numbers."""
  return (
    isinstance(value, list)
    and bool(value)
    and all(type(number) in (int, float) for number in value)
    and all(map(math.isfinite, value))
  )
