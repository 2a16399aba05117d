"""Where benchmarks write: one JSON with machine, versions and spread."""

import contextlib
import importlib.metadata
import json
import os
import pathlib
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from kdjax.runtime import files

_PAUSE = 0.1  # seconds
FOLDER = pathlib.Path(__file__).resolve().parent / 'results'


def record(name: str, rows: Sequence[dict[str, Any]]) -> pathlib.Path:
  """Writes `benchmarks/results/NAME.json` and prints the rows."""
  for row in rows:
    print('  '.join(f'{key} {value}' for key, value in row.items()))
  return write(FOLDER / f'{name}.json', rows)


def write(path: pathlib.Path, rows: Sequence[dict[str, Any]]) -> pathlib.Path:
  """Writes the rows with the machine and the versions."""
  files.write_json(
    path,
    {
      'machine': {
        'processor': _processor(),
        'cores': os.cpu_count(),
        'date': time.strftime('%Y-%m-%d'),
      },
      'versions': {**files.versions(), **_opponents()},
      'rows': list(rows),
    },
  )
  return path


def side_by_side(
  calls: dict[str, Callable[[], Any]], *, repeats: int
) -> dict[str, dict[str, float]]:
  """Seconds of each call: the calls take turns, after one round not counted.

  Taking turns lets a machine whose speed drifts slow all of them alike. In the
  pause before each call the threads of the one before go to sleep: OpenMP's and
  OpenBLAS's spin on for some milliseconds, on the cores of the next.
  """
  seconds: dict[str, list[float]] = {name: [] for name in calls}
  for turn in range(repeats + 1):
    for name, call in calls.items():
      time.sleep(_PAUSE)
      began = time.perf_counter()
      call()
      if turn:
        seconds[name].append(time.perf_counter() - began)
  return {name: spread(values) for name, values in seconds.items()}


def spread(values: Sequence[float]) -> dict[str, float]:
  """Median, minimum and maximum, to four digits."""
  found = {
    'median': statistics.median(values),
    'min': min(values),
    'max': max(values),
  }
  return {name: float(f'{value:.4g}') for name, value in found.items()}


def _opponents() -> dict[str, str]:
  """Versions of what is on the other side, where it is installed."""
  found = {}
  for package in ('torch', 'POT', 'ott-jax', 'kornia'):
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
      found[package] = importlib.metadata.version(package)
  return found


def _processor() -> str:
  try:
    for line in pathlib.Path('/proc/cpuinfo').read_text().splitlines():
      if line.startswith('model name'):
        return line.partition(':')[2].strip()
  except OSError:
    pass
  return json.dumps(platform.processor())
