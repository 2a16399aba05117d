"""What a run leaves on disk besides its checkpoints: JSON, line by line."""

import dataclasses
import importlib.metadata
import json
import os
import pathlib
import platform
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

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


def write_json(path: pathlib.Path, value: Any) -> None:
  """Writes a file whole or not at all."""
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(path.name + '.tmp')
  temporary.write_text(json.dumps(to_json(value), indent=2) + '\n')
  temporary.replace(path)


def write_arrays(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
  """Writes an .npz file whole or not at all."""
  temporary = path.with_name(path.name + '.tmp')
  with temporary.open('wb') as file:
    np.savez(file, allow_pickle=False, **arrays)
  temporary.replace(path)


def read_lines(path: pathlib.Path) -> list[dict[str, Any]]:
  """The JSON lines of a file; a torn last line is not one of them."""
  if not path.exists():
    return []
  lines = []
  for line in path.read_text(encoding='utf-8', errors='replace').splitlines():
    try:
      lines.append(json.loads(line))
    except json.JSONDecodeError:
      break
  return lines


class MetricsWriter:
  """Appends to a run's `metrics.jsonl`.

  Opened at a step, it drops what was logged after it: a run that goes on from
  a checkpoint writes those lines again, and the file ends up as if it had
  never stopped.
  """

  def __init__(self, path: pathlib.Path, step: int):
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = [line for line in read_lines(path) if line['step'] <= step]
    temporary = path.with_name(path.name + '.tmp')
    temporary.write_text(''.join(json.dumps(line) + '\n' for line in kept))
    temporary.replace(path)
    self._file = path.open('a', encoding='utf-8')

  def write(self, **line: Any) -> None:
    """Appends one line and hands it to the operating system."""
    self._file.write(json.dumps(line) + '\n')
    self._file.flush()

  def close(self) -> None:
    """Closes the file."""
    self._file.close()
