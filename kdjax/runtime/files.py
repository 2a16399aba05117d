"""What a run leaves in its folder besides its checkpoints: JSON, line by line.

Folders may be of an object store (`gs://…`), where nothing can be appended to.
"""

import dataclasses
import importlib.metadata
import io
import json
import os
import platform
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from etils import epath

_PACKAGES = ('kdjax', 'jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint')


def to_json(value: Any) -> Any:
  """A configuration as plain JSON types; a dataclass keeps its name."""
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
  """What a result depends on besides its configuration."""
  found = {'python': platform.python_version(), 'platform': platform.platform()}
  for package in _PACKAGES:
    try:
      found[package] = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      found[package] = 'not installed'
  devices = jax.devices()
  found['devices'] = f'{len(devices)} x {devices[0].device_kind}'
  return found


def is_remote(path: epath.PathLike) -> bool:
  """Whether a path is of an object store."""
  return '://' in os.fspath(path)


def absolute(path: epath.PathLike) -> epath.Path:
  """A path from the root; epath's own takes a store's for a relative one."""
  path = epath.Path(path)
  return path if is_remote(path) else path.absolute()


def write_json(path: epath.PathLike, value: Any) -> None:
  """Writes a file whole or not at all."""
  _write(path, (json.dumps(to_json(value), indent=2) + '\n').encode())


def write_arrays(
  path: epath.PathLike, arrays: Mapping[str, np.ndarray]
) -> None:
  """Writes an .npz file whole or not at all."""
  content = io.BytesIO()
  np.savez(content, allow_pickle=False, **arrays)
  _write(path, content.getvalue())


def read_lines(path: epath.PathLike) -> list[dict[str, Any]]:
  """The JSON lines of a file; a torn last line is not one of them."""
  path = epath.Path(path)
  if not path.exists():
    return []
  lines = []
  text = path.read_bytes().decode('utf-8', errors='replace')
  for line in text.splitlines():
    try:
      lines.append(json.loads(line))
    except json.JSONDecodeError:
      break
  return lines


class MetricsWriter:
  """Adds to a run's `metrics.jsonl`.

  Opened at a step, it drops what was logged after it: a run that goes on from
  a checkpoint writes those lines again, and the file ends up as if it had
  never stopped. The file, some hundred kilobytes, is written anew for each
  line, and so is whole at any moment.
  """

  def __init__(self, path: epath.PathLike, step: int):
    self._path = epath.Path(path)
    self._lines = [line for line in read_lines(path) if line['step'] <= step]
    self._write()

  def write(self, **line: Any) -> None:
    """Adds one line."""
    self._lines.append(line)
    self._write()

  def _write(self) -> None:
    lines = ''.join(json.dumps(line) + '\n' for line in self._lines)
    _write(self._path, lines.encode())


def _write(path: epath.PathLike, content: bytes) -> None:
  path = epath.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  if is_remote(path):  # what is written there appears when it is whole
    path.write_bytes(content)
    return
  temporary = path.with_name(path.name + '.tmp')
  temporary.write_bytes(content)
  temporary.replace(path)
