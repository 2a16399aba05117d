"""The input of streamed training alone: JPEGs to uint8 batches on the host.

  python -m benchmarks.input --workers=0,2 --threads=1,4

First each view by itself, image by image in one thread; then whole streams, as
training reads them. Writes `benchmarks/results/input.json`: images/s by the
clock, and images per second of one core, which is images over processor seconds
of all threads and processes and means the same on a busy machine.
"""

import argparse
import functools
import multiprocessing
import os
import pathlib
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import _record
from kdjax.data import (
  CenterCrop,
  RandomResizedCrop,
  Reading,
  StreamedSplit,
  View,
  Whole,
)
from kdjax.data.stream.image_files import ImageFiles

FOLDER = (
  pathlib.Path(__file__).resolve().parents[2] / 'shared/data/detection_small'
)
VIEWS: dict[str, View] = {
  'random_resized_crop': RandomResizedCrop((224, 224)),
  'random_resized_crop, decoded whole': RandomResizedCrop(
    (224, 224), draft=False
  ),
  'center_crop': CenterCrop((224, 224), 256),
  'whole, 448': Whole((448, 448)),
}


def main(argv: Sequence[str] | None = None) -> int:
  """Measures what is asked for; 0, or 2 where there are no images."""
  flags = _parse(argv)
  paths = sorted(flags.folder.rglob('*.jpg'))
  if not paths:
    print(f'There are no *.jpg below {flags.folder}; give --folder=FOLDER.')
    return 2
  files = ImageFiles.of(paths)
  rows = [_sizes(files)]
  rows += [_decode(files, name, flags.repeats) for name in VIEWS]
  rows += [
    _stream(files, workers, threads, flags)
    for workers in flags.workers
    for threads in flags.threads
  ]
  _record.record('input', rows)
  return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
  parser = argparse.ArgumentParser(description=__doc__)
  numbers = functools.partial(_numbers, parser)
  parser.add_argument('--folder', type=pathlib.Path, default=FOLDER)
  parser.add_argument('--workers', type=numbers, default=(0, 1, 2))
  parser.add_argument('--threads', type=numbers, default=(1, 2, 4))
  parser.add_argument('--batch_size', type=int, default=64)
  parser.add_argument('--batches', type=int, default=8)  # of each repeat
  parser.add_argument('--repeats', type=int, default=5)
  return parser.parse_args(argv)


def _numbers(parser: argparse.ArgumentParser, text: str) -> tuple[int, ...]:
  try:
    return tuple(int(number) for number in text.split(','))
  except ValueError:
    parser.error(f'expected numbers with commas between them, got {text!r}')


def _sizes(files: ImageFiles) -> dict[str, Any]:
  """What is decoded, to compare with other images."""
  pixels = []
  for index in range(len(files)):
    with Image.open(files.name(index)) as image:
      pixels.append(image.width * image.height)
  sizes = [len(files.read(index)) for index in range(len(files))]
  return {
    'what': 'files',
    'images': len(files),
    'mean_pixels': round(statistics.mean(pixels)),
    'mean_bytes': round(statistics.mean(sizes)),
  }


def _decode(files: ImageFiles, name: str, repeats: int) -> dict[str, Any]:
  """One view of all files, one after the other in this thread."""
  contents = [files.read(index) for index in range(len(files))]

  def all_once():
    for index, content in enumerate(contents):
      VIEWS[name](content, np.random.default_rng((0, index)))

  return {
    'what': 'decode',
    'view': name,
    **_rates(all_once, len(contents), repeats),
  }


def _stream(
  files: ImageFiles, workers: int, threads: int, flags: argparse.Namespace
) -> dict[str, Any]:
  """Batches of random windows as a training run takes them."""
  split = StreamedSplit(
    files=files,
    labels=np.zeros(len(files), np.int32),
    view=VIEWS['center_crop'],
    varied=VIEWS['random_resized_crop'],
    reading=Reading(workers=workers, threads=threads),
  )
  stream = split.shuffled(0, flags.batch_size)

  def some():
    for _ in range(flags.batches):
      next(stream)

  rates = _rates(some, flags.batches * flags.batch_size, flags.repeats)
  stream.close()
  return {
    'what': 'stream',
    'view': 'random_resized_crop',
    'workers': workers,
    'threads': threads,
    'batch_size': flags.batch_size,
    **rates,
  }


def _rates(
  call: Callable[[], None], images: int, repeats: int
) -> dict[str, Any]:
  """Images over time by the clock and of the cores; one call not counted."""
  call()
  by_clock, by_core = [], []
  for _ in range(repeats):
    began, spent = time.perf_counter(), _processor_seconds()
    call()
    by_clock.append(images / (time.perf_counter() - began))
    by_core.append(images / (_processor_seconds() - spent))
  return {
    'images_per_second': _record.spread(by_clock),
    'images_per_second_of_one_core': _record.spread(by_core),
  }


def _processor_seconds() -> float:
  """Of this process and of its worker processes, by Linux's account."""
  children: Iterable[Any] = multiprocessing.active_children()
  ticks = 0
  for child in children:
    stat = pathlib.Path(f'/proc/{child.pid}/stat').read_text()
    fields = stat.rpartition(')')[2].split()  # a name may hold spaces
    ticks += int(fields[11]) + int(fields[12])  # in user and in system mode
  return time.process_time() + ticks / os.sysconf('SC_CLK_TCK')


if __name__ == '__main__':
  sys.exit(main())
