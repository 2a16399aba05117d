"""Timing of calls, and the JSON files that benchmarks write."""

import contextlib
import importlib.metadata
import multiprocessing
import os
import pathlib
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import jax

from kdjax.runtime import files

T = TypeVar('T')
Call = Callable[[], Any]
Range = dict[str, float]  # `median`, `min` and `max`

FOLDER = pathlib.Path(__file__).resolve().parent / 'results'
_PAUSE = 0.1  # seconds


def take_turns(calls: Mapping[str, Call], *, repeats: int) -> dict[str, Range]:
  """Measures the seconds of several calls, which take turns.

  Taking turns distributes a drift of the machine's speed over all calls. The
  pause before each call lets the threads of the previous one go to sleep:
  OpenMP's and OpenBLAS's spin for some milliseconds and would occupy the cores.

  Args:
    calls: Calls by name; each must wait for its result.
    repeats: Number of measured rounds, after one that is not counted.

  Returns:
    Median, minimum and maximum by name.
  """
  seconds: dict[str, list[float]] = {name: [] for name in calls}
  for turn in range(repeats + 1):
    for name, call in calls.items():
      time.sleep(_PAUSE)
      _, elapsed = timed(call)
      if turn:
        seconds[name].append(elapsed)
  return {name: median_and_range(values) for name, values in seconds.items()}


def timed(call: Callable[[], T]) -> tuple[T, float]:
  """Returns the result of a call and its seconds."""
  began = time.perf_counter()
  result = call()
  return result, time.perf_counter() - began


def compiled(function: Callable[..., Any], *arguments: Any) -> Call:
  """Returns a call that applies a compiled function and waits."""
  jitted = jax.jit(function)
  return lambda: jax.block_until_ready(jitted(*arguments))


def chained(function: Callable[[T], T], first: T, count: int) -> Call:
  """Returns a call that applies a compiled function repeatedly, and waits.

  Args:
    function: A value to the next one, which has the same shapes.
    first: The first value.
    count: Number of applications, each dispatched separately.
  """
  jitted = jax.jit(function)

  def call() -> None:
    value = first
    for _ in range(count):
      value = jitted(value)
    jax.block_until_ready(value)

  return call


def processor_seconds() -> float:
  """Returns the processor time of this process and its worker processes."""
  ticks = 0
  for child in multiprocessing.active_children():
    stat = pathlib.Path(f'/proc/{child.pid}/stat').read_text()
    fields = stat.rpartition(')')[2].split()  # a name may contain spaces
    ticks += int(fields[11]) + int(fields[12])  # user mode and system mode
  return time.process_time() + ticks / os.sysconf('SC_CLK_TCK')


def median_and_range(values: Sequence[float]) -> Range:
  """Computes median, minimum and maximum, rounded to four digits."""
  by_name = {
    'median': statistics.median(values),
    'min': min(values),
    'max': max(values),
  }
  return {name: digits(value, 4) for name, value in by_name.items()}


def per_step(seconds: Mapping[str, Range], steps: int) -> dict[str, Range]:
  """Divides the seconds of calls by their number of steps."""
  return {
    name: {key: digits(value / steps, 4) for key, value in times.items()}
    for name, times in seconds.items()
  }


def ratio(
  seconds: Mapping[str, Mapping[str, float]], one: str, other: str
) -> float:
  """Returns the median of one call over that of another, to three digits."""
  return digits(seconds[one]['median'] / seconds[other]['median'])


def digits(value: Any, count: int = 3) -> float:
  """Rounds to a number of significant digits."""
  return float(f'{float(value):.{count}g}')


def record(path: pathlib.Path, rows: Sequence[dict[str, Any]]) -> None:
  """Prints the rows and writes them; see `write`."""
  for row in rows:
    print('  '.join(f'{key} {value}' for key, value in row.items()))
  write(path, rows)
  print(path)


def write(path: pathlib.Path, rows: Sequence[dict[str, Any]]) -> None:
  """Writes the rows together with machine, package versions and commit.

  Args:
    path: A JSON file.
    rows: Measurements; each is a dict that JSON can represent.
  """
  files.write_json(
    path,
    {
      'machine': {
        'processor': _processor(),
        'cores': os.cpu_count(),
        'date': time.strftime('%Y-%m-%d'),
      },
      'versions': {**files.versions(), **_reference_versions()},
      'commit': commit(),
      'rows': list(rows),
    },
  )


def commit() -> str:
  """Returns the hash of the git commit that is measured.

  It ends in `-dirty` if files other than results differ from that commit, and
  is `unknown` outside of a git checkout.
  """
  changed = ('status', '--porcelain', '--untracked-files=no', '--', '.')
  try:
    head = _git('rev-parse', 'HEAD')
    dirty = _git(*changed, ':!benchmarks/results')
  except (OSError, subprocess.CalledProcessError):
    return 'unknown'
  return f'{head}-dirty' if dirty else head


def _git(*arguments: str) -> str:
  process = subprocess.run(
    ['git', *arguments],
    cwd=FOLDER.parents[1],
    check=True,
    capture_output=True,
    text=True,
  )
  return process.stdout.strip()


def _reference_versions() -> dict[str, str]:
  """Returns the versions of the packages compared with, if installed."""
  versions = {}
  for package in ('torch', 'POT', 'ott-jax', 'kornia'):
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
      versions[package] = importlib.metadata.version(package)
  return versions


def _processor() -> str:
  with contextlib.suppress(OSError):
    for line in pathlib.Path('/proc/cpuinfo').read_text().splitlines():
      if line.startswith('model name'):
        return line.partition(':')[2].strip()
  return platform.processor()
