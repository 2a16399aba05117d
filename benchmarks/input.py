"""Input of streamed training without training: JPEGs to uint8 batches.

  python -m benchmarks.input --workers=0,2 --threads=1,4

Decodes with each view, image by image in one thread; then reads streams as
training does. Writes `benchmarks/results/input.json`: images per second, and
images per second of one core, which are images divided by the processor time of
all threads and processes and do not depend on the load of the machine.
"""

import argparse
import pathlib
import statistics
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks import flag_types, timing
from kdjax.data import (
  CenterCrop,
  RandomResizedCrop,
  Reading,
  StreamedSplit,
  View,
  Whole,
)
from kdjax.data.files import ImageFiles, open_image
from kdjax.data.images import EncodedImage

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
  """Measures and writes.

  Args:
    argv: Command-line arguments (default: those of the process).

  Returns:
    The exit code: 0, or 2 if there are no images.
  """
  flags = _parse(argv)
  paths = sorted(flags.folder.rglob('*.jpg'))
  if not paths:
    print(f'There are no *.jpg below {flags.folder}; give --folder=FOLDER.')
    return 2
  files = ImageFiles.from_paths(paths)
  rows = [_sizes(files)]
  rows += [_decode(files, name, flags.repeats) for name in VIEWS]
  rows += [
    _stream(files, workers, threads, flags)
    for workers in flags.workers
    for threads in flags.threads
  ]
  timing.record(flags.output / 'input.json', rows)
  return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
  parser = flag_types.make_parser(__doc__, repeats=5)
  parser.add_argument('--folder', type=pathlib.Path, default=FOLDER)
  parser.add_argument('--workers', type=flag_types.numbers, default=(0, 1, 2))
  parser.add_argument('--threads', type=flag_types.numbers, default=(1, 2, 4))
  parser.add_argument('--batch_size', type=int, default=64)
  parser.add_argument(
    '--batches', type=int, default=8, help='batches of each measured round'
  )
  return parser.parse_args(argv)


def _sizes(files: ImageFiles) -> dict[str, Any]:
  """Returns the number and mean size of the images."""
  pixels = []
  for index in range(len(files)):
    height, width = open_image(files, index).size
    pixels.append(height * width)
  sizes = [len(files.read(index)) for index in range(len(files))]
  return {
    'what': 'files',
    'images': len(files),
    'mean_pixels': round(statistics.mean(pixels)),
    'mean_bytes': round(statistics.mean(sizes)),
  }


def _decode(files: ImageFiles, name: str, repeats: int) -> dict[str, Any]:
  """Returns a row: a view of all files, decoded sequentially."""
  contents = [files.read(index) for index in range(len(files))]

  def decode_all() -> None:
    for index, content in enumerate(contents):
      image = EncodedImage(content, files.name(index))
      VIEWS[name](image, np.random.default_rng((0, index)))

  return {
    'what': 'decode',
    'view': name,
    **_rates(decode_all, len(contents), repeats),
  }


def _stream(
  files: ImageFiles, workers: int, threads: int, flags: argparse.Namespace
) -> dict[str, Any]:
  """Returns a row: batches of random crops, read as training does."""
  split = StreamedSplit(
    files=files,
    labels=np.zeros(len(files), np.int32),
    view=VIEWS['center_crop'],
    train_view=VIEWS['random_resized_crop'],
    reading=Reading(workers=workers, threads=threads),
  )
  stream = split.shuffled(0, flags.batch_size)

  def read_batches() -> None:
    for _ in range(flags.batches):
      next(stream)

  images = flags.batches * flags.batch_size
  rates = _rates(read_batches, images, flags.repeats)
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
  """Measures images per second, after a call that is not counted."""
  call()
  rates, rates_of_a_core = [], []
  for _ in range(repeats):
    processor = timing.processor_seconds()
    rates.append(images / timing.timed(call)[1])
    rates_of_a_core.append(images / (timing.processor_seconds() - processor))
  return {
    'images_per_second': timing.median_and_range(rates),
    'images_per_second_of_one_core': timing.median_and_range(rates_of_a_core),
  }


if __name__ == '__main__':
  sys.exit(main())
