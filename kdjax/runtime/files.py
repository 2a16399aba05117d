"""Files of a run besides its checkpoints: JSON, JSON lines and arrays.

Folders may be in an object store (`gs://…`), where files cannot be appended to.
"""

import dataclasses
import importlib.metadata
import io
import json
import os
import platform
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from etils import epath

from kdjax.runtime.temporary import replacing

_PACKAGES = ('kdjax', 'jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint')


def to_json(value: Any) -> Any:
  """Converts a configuration to plain JSON types.

  Args:
    value: Dataclasses, mappings, lists, tuples, paths and plain values, nested.

  Returns:
    Dictionaries, lists and plain values; a dataclass becomes a dictionary with
    the name of its class under `type`.
  """
  if dataclasses.is_dataclass(value) and not isinstance(value, type):
    fields = {
      field.name: to_json(getattr(value, field.name))
      for field in dataclasses.fields(value)
    }
    return {'type': type(value).__name__, **fields}
  if isinstance(value, Mapping):
    return {str(key): to_json(item) for key, item in value.items()}
  if isinstance(value, list | tuple):
    return [to_json(item) for item in value]
  if isinstance(value, os.PathLike):
    return os.fspath(value)
  return value


def versions() -> dict[str, str]:
  """Returns versions of packages and the devices, as text by name."""
  import jax  # here, so that reading a file does not import it

  result = {
    'python': platform.python_version(),
    'platform': platform.platform(),
  }
  for package in _PACKAGES:
    try:
      result[package] = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      result[package] = 'not installed'
  devices = jax.devices()
  result['devices'] = f'{len(devices)} x {devices[0].device_kind}'
  return result


def is_remote(path: epath.PathLike) -> bool:
  """Returns whether a path is in an object store."""
  return '://' in os.fspath(path)


def is_regular_file(path: epath.PathLike) -> bool:
  """Returns whether a path is a file; pipes, which could block, are not."""
  if is_remote(path):
    return epath.Path(path).is_file()
  return os.path.isfile(path)


def absolute(path: epath.PathLike) -> epath.Path:
  """Returns an absolute path; object stores' paths are absolute already."""
  path = epath.Path(path)
  return path if is_remote(path) else path.absolute()


def write_json(path: epath.PathLike, value: Any) -> None:
  """Writes a value as JSON, atomically.

  Args:
    path: The file; replaced if it exists.
    value: See `to_json`.
  """
  write_bytes(path, (json.dumps(to_json(value), indent=2) + '\n').encode())


def read_json(path: epath.PathLike) -> dict[str, Any]:
  """Reads a file that holds one JSON object.

  Args:
    path: The file.

  Raises:
    ValueError: If it cannot be read or holds something else.
  """
  path = epath.Path(path)
  if path.exists() and not is_regular_file(path):
    raise ValueError(f'{path} is not a regular file.')
  try:
    value = json.loads(path.read_bytes())
  except (OSError, ValueError, RecursionError) as error:
    raise ValueError(f'{path} is not readable JSON: {error}.') from error
  if not isinstance(value, dict):
    raise ValueError(f'{path} holds no JSON object.')
  return value


def write_arrays(
  path: epath.PathLike, arrays: Mapping[str, np.ndarray]
) -> None:
  """Writes arrays as an .npz file, atomically.

  Args:
    path: The file; replaced if it exists.
    arrays: Arrays by name.
  """
  content = io.BytesIO()
  np.savez(content, allow_pickle=False, **arrays)
  write_bytes(path, content.getvalue())


def write_bytes(path: epath.PathLike, content: bytes) -> None:
  """Writes a file atomically: as a whole or not at all.

  Args:
    path: The file; replaced if it exists. Its folder is created.
    content: All of the file.

  Raises:
    OSError: If it cannot be written, or is a folder, a device or a pipe.
  """
  path = epath.Path(path)
  if is_remote(path):  # an object appears once it is complete
    path.write_bytes(content)
    return
  with replacing(path) as temporary:
    temporary.write_bytes(content)


def read_lines(
  path: epath.PathLike, unreadable: Callable[[int], object] | None = None
) -> list[dict[str, Any]]:
  """Reads a file of JSON objects, one per line.

  A run that is stopped while it writes may leave a torn line; such lines, and
  those that are no JSON object or whose `step` or `epoch` is not a count, are
  skipped.

  Args:
    path: The file.
    unreadable: Called with the number, from 1, of each skipped line that is not
      blank (`None`: no call).

  Returns:
    The objects in order; empty if there is no file.

  Raises:
    ValueError: If it is a folder, a device or a pipe.
  """
  path = epath.Path(path)
  if not path.exists():
    return []
  if not is_regular_file(path):
    raise ValueError(f'{path} is not a regular file.')
  lines = []
  texts = path.read_bytes().decode('utf-8', errors='replace').splitlines()
  for number, text in enumerate(texts, start=1):
    line = _parsed(text)
    if isinstance(line, dict) and _has_counts(line):
      lines.append(line)
    elif text.strip() and unreadable is not None:
      unreadable(number)
  return lines


def _parsed(text: str) -> Any:
  """Returns a JSON value; `None` if the text is not JSON."""
  try:
    return json.loads(text)
  except (ValueError, RecursionError):
    return None


def _has_counts(line: Mapping[str, Any]) -> bool:
  """Returns whether the step and epoch of a line, if any, are counts."""
  counts = [line[name] for name in ('step', 'epoch') if name in line]
  return all(type(count) is int and count >= 0 for count in counts)


class MetricsWriter:
  """Writer of a run's `metrics.jsonl`.

  Drops the lines of later steps and of the end: a resumed run writes them
  again, and the file ends up as if the run had never stopped. The file, some
  hundred kilobytes, is rewritten for each line, so that it is complete at any
  moment.

  Args:
    path: The file; created if it does not exist.
    step: Step from which the run continues; lines up to it are kept.
  """

  def __init__(self, path: epath.PathLike, step: int):
    self._path = epath.Path(path)
    self._lines = [
      line
      for line in read_lines(path)
      if line.get('step', 0) <= step and line.get('kind') != 'end'
    ]
    self._write()

  def write(self, **line: Any) -> None:
    """Adds one line.

    Args:
      **line: Its entries, `step` among them.
    """
    self._lines.append(line)
    self._write()

  def _write(self) -> None:
    lines = ''.join(json.dumps(line) + '\n' for line in self._lines)
    write_bytes(self._path, lines.encode())
