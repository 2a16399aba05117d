"""What `benchmarks.train_step` measures of a pair, method and batch size."""

import dataclasses
import functools
import math
import time
from collections.abc import Callable
from typing import Any

from benchmarks import _ceilings, _record
from benchmarks._step import Compiled, Jax


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
  """One pair, method and batch size, in some precisions."""

  teacher: str
  student: str
  method: str
  batch_size: int
  precisions: tuple[str, ...]
  against_torch: bool
  images: int  # of the set on the device; what fills no batch is left out
  seconds: float  # of a call, about
  repeats: int


def measure(settings: Settings) -> list[dict[str, Any]]:
  """A row for each precision; all calls take turns."""
  made = {
    precision: Jax(
      settings.teacher,
      settings.student,
      settings.method,
      settings.batch_size,
      precision,
      settings.images // settings.batch_size,
    )
    for precision in settings.precisions
  }
  compiled = {precision: one.compile() for precision, one in made.items()}
  operations = {precision: one.operations() for precision, one in made.items()}
  steps = _steps(settings, next(iter(made.values())).loop)
  devices = next(iter(made.values())).program.devices
  ceilings = {name: _ceilings.matmul(name, devices) for name in made}
  ceilings['copy'] = _ceilings.copy(devices)
  calls = {name: ceiling.call for name, ceiling in ceilings.items()}
  for name, one in made.items():
    calls[f'{name} single'] = functools.partial(one.alone, steps)
    calls[f'{name} scanned'] = functools.partial(one.loop, steps)
  if settings.against_torch:
    calls |= _torch(settings, steps)
  seconds = _record.side_by_side(calls, repeats=settings.repeats)
  best = {
    name: ceiling.amount / seconds[name]['median']
    for name, ceiling in ceilings.items()
  }
  per_step = {
    name: {key: value / steps for key, value in found.items()}
    for name, found in seconds.items()
    if name not in ceilings
  }
  return [
    {
      **_about(settings, name, steps),
      'devices': devices.count,
      **_times(settings, name, per_step),
      **_shares(
        per_step[f'{name} scanned']['median'],
        operations[name],
        compiled[name].bytes_accessed * devices.count,
        compiled[name],
        best[name],
        best['copy'],
      ),
    }
    for name in made
  ]


def _steps(settings: Settings, loop: Callable[[int], None]) -> int:
  """How many steps take about as long as a call shall, within an epoch."""
  loop(1)
  began = time.perf_counter()
  loop(1)
  seconds = time.perf_counter() - began
  steps = math.ceil(settings.seconds / seconds)
  return min(steps, settings.images // settings.batch_size)


def _torch(settings: Settings, steps: int) -> dict[str, Callable[[], None]]:
  from benchmarks import torch_loop

  loops = {
    name: torch_loop.Loop(
      settings.teacher, settings.student, settings.batch_size, fast=fast
    )
    for name, fast in (('torch', False), ('torch_fast', True))
  }
  return {
    name: functools.partial(loop.run, steps) for name, loop in loops.items()
  }


def _about(settings: Settings, precision: str, steps: int) -> dict[str, Any]:
  return {
    'pair': f'{settings.teacher}:{settings.student}',
    'method': settings.method,
    'batch_size': settings.batch_size,
    'precision': precision,
    'steps_per_call': steps,
    'repeats': settings.repeats,
  }


def _times(
  settings: Settings,
  precision: str,
  per_step: dict[str, dict[str, float]],
) -> dict[str, Any]:
  """Seconds of a step each way, images per second, and their ratios."""
  own = {
    'single': per_step[f'{precision} single'],
    'scanned': per_step[f'{precision} scanned'],
    **{k: v for k, v in per_step.items() if k.startswith('torch')},
  }
  images = {
    name: settings.batch_size / found['median'] for name, found in own.items()
  }
  row = {
    'images_per_second': {k: digits(v) for k, v in images.items()},
    'seconds_per_step': {
      name: {key: digits(value) for key, value in found.items()}
      for name, found in own.items()
    },
    'scanned_over_single': digits(
      own['scanned']['median'] / own['single']['median'], 3
    ),
  }
  if settings.against_torch:
    row['compared_with'] = 'torch' if precision == 'float32' else 'torch_fast'
    row['over_torch'] = {
      name: digits(images['scanned'] / images[name], 3)
      for name in ('torch', 'torch_fast')
    }
  return row


def _shares(
  seconds: float,
  operations: float,
  moved: float,
  compiled: Compiled,
  matmul: float,
  copy: float,
) -> dict[str, Any]:
  """What the compiler took and counts, beside what the devices can do."""
  return {
    'compile_seconds': digits(compiled.seconds),
    'peak_megabytes_of_a_device': digits(compiled.peak_bytes / 1e6),
    'gigaflop_per_step': digits(operations / 1e9),
    'megabytes_per_step': digits(moved / 1e6),
    'matmul_gigaflop_per_second': digits(matmul / 1e9),
    'copy_gigabytes_per_second': digits(copy / 1e9),
    'share_of_matmul': digits(operations / seconds / matmul, 3),
    'share_of_copy': digits(moved / seconds / copy, 3),
  }


def digits(value: float, count: int = 4) -> float:
  """The number to so many digits."""
  return float(f'{value:.{count}g}')
