"""Measurements of `benchmarks.train_step` for a pair, method and batch."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

from benchmarks import _ceilings, timing
from benchmarks._step import Compiled, Pair
from benchmarks.timing import digits


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
  """One pair, method and batch size, in several precisions.

  Attributes:
    teacher: Name of the teacher network.
    student: Name of the student network.
    method: Name of the method.
    batch_size: Images per step.
    precisions: Dtypes that the networks compute in.
    against_torch: Whether to measure PyTorch as well.
    images: Images of the dataset on the device, rounded down to full batches.
    seconds: Approximate duration of a measured call.
    repeats: Number of measured rounds.
  """

  teacher: str
  student: str
  method: str
  batch_size: int
  precisions: tuple[str, ...]
  against_torch: bool
  images: int
  seconds: float
  repeats: int


def measure(settings: Settings) -> list[dict[str, Any]]:
  """Returns a row for each precision; all calls take turns."""
  pairs = {
    precision: Pair(
      settings.teacher,
      settings.student,
      settings.method,
      settings.batch_size,
      precision,
      settings.images // settings.batch_size,
    )
    for precision in settings.precisions
  }
  compiled = {name: pair.compile() for name, pair in pairs.items()}
  operations = {name: pair.operations() for name, pair in pairs.items()}
  first = next(iter(pairs.values()))
  steps = _steps(settings, first.loop)
  devices = first.program.devices
  ceilings = {name: _ceilings.matmul(name, devices) for name in pairs}
  ceilings['copy'] = _ceilings.copy(devices)
  calls = {name: ceiling.call for name, ceiling in ceilings.items()}
  for name, pair in pairs.items():
    calls[f'{name} single'] = functools.partial(pair.alone, steps)
    calls[f'{name} scanned'] = functools.partial(pair.loop, steps)
  if settings.against_torch:
    calls |= _torch(settings, steps)
  seconds = timing.take_turns(calls, repeats=settings.repeats)
  peak_rates = {
    name: ceiling.amount / seconds[name]['median']
    for name, ceiling in ceilings.items()
  }
  per_step = timing.per_step(seconds, steps)
  return [
    {
      **_describe(settings, name, steps),
      'devices': devices.count,
      **_times(settings, name, per_step),
      **_shares(
        per_step[f'{name} scanned']['median'],
        operations[name],
        compiled[name].bytes_accessed * devices.count,
        compiled[name],
        peak_rates[name],
        peak_rates['copy'],
      ),
    }
    for name in pairs
  ]


def _steps(settings: Settings, loop: Callable[[int], None]) -> int:
  """Returns the number of steps of a call, at most one epoch."""
  loop(1)
  _, seconds = timing.timed(lambda: loop(1))
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


def _describe(settings: Settings, precision: str, steps: int) -> dict[str, Any]:
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
  """Returns seconds per step, images per second, and their ratios."""
  own = {
    'single': per_step[f'{precision} single'],
    'scanned': per_step[f'{precision} scanned'],
    **{k: v for k, v in per_step.items() if k.startswith('torch')},
  }
  images = {
    name: settings.batch_size / times['median'] for name, times in own.items()
  }
  row = {
    'images_per_second': {k: digits(v, 4) for k, v in images.items()},
    'seconds_per_step': own,
    'scanned_over_single': timing.ratio(own, 'scanned', 'single'),
  }
  if settings.against_torch:
    row['compared_with'] = 'torch' if precision == 'float32' else 'torch_fast'
    row['over_torch'] = {
      name: digits(images['scanned'] / images[name])
      for name in ('torch', 'torch_fast')
    }
  return row


def _shares(
  seconds: float,
  operations: float,
  bytes_accessed: float,
  compiled: Compiled,
  matmul: float,
  copy: float,
) -> dict[str, Any]:
  """Returns compile time, memory, and fractions of the peak rates."""
  return {
    'compile_seconds': digits(compiled.seconds, 4),
    'peak_megabytes_of_a_device': digits(compiled.peak_bytes / 1e6, 4),
    'gigaflop_per_step': digits(operations / 1e9, 4),
    'megabytes_per_step': digits(bytes_accessed / 1e6, 4),
    'matmul_gigaflop_per_second': digits(matmul / 1e9, 4),
    'copy_gigabytes_per_second': digits(copy / 1e9, 4),
    'share_of_matmul': digits(operations / seconds / matmul),
    'share_of_copy': digits(bytes_accessed / seconds / copy),
  }
